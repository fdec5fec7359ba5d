"""The provider and the model that serve one capability."""

import re
from dataclasses import dataclass

from shared.errors import InvalidRequest, ModelNotAllowed
from shared.model_access import check_model
from shared.openai_service.provider_config import ProviderConfig
from shared.settings import ModelPatterns

_DEPLOYMENT = re.compile(r"(?!\.+$)[A-Za-z0-9._-]{1,64}")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The provider and the model that serve one capability.

    Attributes:
        config: How to reach the provider.
        model: The model; None in Azure where only the deployment is known.
        deployment: The deployment in Azure; None elsewhere.
        allowed_models: Patterns of the models that callers may use; None for any.
        has_plain_name: Whether the model's name alone, without ``PROVIDER/``, leads here; then patterns
            without it apply too.
    """

    config: ProviderConfig
    model: str | None
    deployment: str | None = None
    allowed_models: ModelPatterns | None = None
    has_plain_name: bool = True

    @property
    def target(self) -> str:
        """What the API's ``model`` parameter takes: in Azure the deployment, elsewhere the model."""
        return self.deployment or self.model or ""

    def choose_model(self, name: str | None) -> str:
        """Returns the model to ask the provider for.

        Args:
            name: The one that the caller names; None for the configured one.

        Raises:
            InvalidRequest: It cannot be the name of a deployment, where that stands in the URL.
            ModelNotAllowed: The caller may not use it.
        """
        chosen = name or self.target
        if self.config.api_version and not _DEPLOYMENT.fullmatch(chosen):
            # It becomes a part of the URL's path.
            raise InvalidRequest.for_field(
                "model", "Give the name of a deployment: 1 to 64 of A-Z a-z 0-9 . _ -"
            )
        known_as = [self.model] if chosen == self.target and self.model else []
        lists = () if self.allowed_models is None else (self.allowed_models,)
        if self.config.name is None:
            check_model(chosen, known_as, lists)
        else:
            full = f"{self.config.name}/{chosen}"
            known_as.append(full)
            check_model(*((chosen, known_as) if self.has_plain_name else (full, [])), lists=lists)
        return chosen

    @property
    def is_allowed(self) -> bool:
        """Whether the caller may use it."""
        try:
            self.choose_model(None)
        except ModelNotAllowed:
            return False
        return True
