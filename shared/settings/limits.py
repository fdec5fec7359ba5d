"""What a principal may use at most, and what models cost where the operator says so."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=0)]
Dollars = Annotated[float, Field(ge=0)]

_MODEL = ConfigDict(
    extra="forbid", frozen=True, strict=True, allow_inf_nan=False, hide_input_in_errors=True
)


class Limits(BaseModel):
    """Limits of one principal; None is no limit. Days and months are UTC.

    A request is one call at a door that asks a provider for something paid.

    Attributes:
        requests_per_minute: Requests in any 60 seconds.
        requests_per_day: Requests of a day.
        tokens_per_day: Input and output tokens of a day.
        tokens_per_month: Input and output tokens of a month.
        usd_per_day: US dollars of a day.
        usd_per_month: US dollars of a month.
        parallel: Requests at a time, at least 1.
    """

    model_config = _MODEL

    requests_per_minute: Count | None = None
    requests_per_day: Count | None = None
    tokens_per_day: Count | None = None
    tokens_per_month: Count | None = None
    usd_per_day: Dollars | None = None
    usd_per_month: Dollars | None = None
    parallel: Annotated[int, Field(ge=1)] | None = None

    def __bool__(self) -> bool:
        """Returns whether there is any limit."""
        return any(limit is not None for _, limit in self)

    @property
    def has_money(self) -> bool:
        """Whether dollars are limited, so that the price of every call has to be known."""
        return self.usd_per_day is not None or self.usd_per_month is not None

    @property
    def has_month(self) -> bool:
        """Whether the earlier days of the month count."""
        return self.tokens_per_month is not None or self.usd_per_month is not None


class ModelPrice(BaseModel):
    """The price of one model in US dollars; None is unknown.

    Attributes:
        input: A million input tokens.
        cached: A million input tokens that the provider had cached; None: as other input.
        output: A million output tokens.
        image: One image.
        second: One second of audio or video.
    """

    model_config = _MODEL

    input: Dollars | None = None
    cached: Dollars | None = None
    output: Dollars | None = None
    image: Dollars | None = None
    second: Dollars | None = None
