"""Costs against the price lists of the providers' pages, unit by unit."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from genai_prices import Usage
from genai_prices.data_snapshot import get_snapshot

from shared.openai_service import Capability, Consumption, MeteredCall, Provider
from shared.settings import ModelPrice
from shared.usage.prices import Prices

pytestmark = pytest.mark.any_python


def call(model: str, provider: Provider = Provider.OPENAI, known: str | None = None) -> MeteredCall:
    return MeteredCall(
        capability=Capability.CHAT,
        provider=provider,
        label=provider,
        base_url="https://api.openai.com/v1",
        model=model,
        known_model=known,
        estimate=Consumption(),
    )


@pytest.fixture
async def prices() -> Prices:
    listed = Prices({})
    await listed.load()
    return listed


@pytest.mark.parametrize(
    ("model", "used", "usd"),
    [
        # $0.10, $0.01 cached and $0.50 per million tokens.
        (
            "gpt-6-luna",
            Consumption(input_tokens=10_000, cached_tokens=4_000, output_tokens=2_000),
            0.0006 + 0.00004 + 0.001,
        ),
        # $0.27 an hour, whatever tokens there are.
        ("gpt-transcribe", Consumption(seconds=600), 0.045),
        # $0.006 a minute.
        ("whisper-1", Consumption(seconds=90), 0.009),
        # $2.50 text, $6 audio, $10 output per million tokens.
        (
            "gpt-4o-transcribe",
            Consumption(input_tokens=1_100, input_audio_tokens=1_000, output_tokens=200),
            0.00025 + 0.006 + 0.002,
        ),
        # $15 per million characters.
        ("tts-1", Consumption(characters=4_096), 0.06144),
        # $0.60 text in, $12 audio out.
        ("gpt-4o-mini-tts", Consumption(input_tokens=250, output_tokens=1_250), 0.01515),
        # $5 text in, $8 image in, $30 out per million tokens.
        (
            "gpt-image-2.5-flare",
            Consumption(
                input_tokens=300,
                input_image_tokens=200,
                output_tokens=1_056,
                output_image_tokens=1_056,
                images=1,
            ),
            0.0005 + 0.0016 + 0.03168,
        ),
        # $32 for output tokens of images, $10 for those of text.
        (
            "chatgpt-image-latest",
            Consumption(input_tokens=0, output_tokens=1_000, output_image_tokens=1_000, images=1),
            0.032,
        ),
    ],
)
async def test_cost_is_by_the_unit_of_the_price_list(
    prices: Prices, model: str, used: Consumption, usd: float
) -> None:
    assert prices.cost(call(model), used) == pytest.approx(usd, rel=1e-6)


@pytest.mark.parametrize(
    ("model", "used"),
    [
        ("gpt-transcribe", Consumption(input_tokens=600, output_tokens=40)),
        ("whisper-1", Consumption(input_tokens=600)),
        ("gpt-4o-transcribe", Consumption(seconds=60)),
        ("tts-1", Consumption(input_tokens=1_000, output_tokens=1_000)),
        ("gpt-6-luna", Consumption(seconds=5)),
        ("gpt-image-2.5-flare", Consumption(images=1)),
        ("a-model-of-nobody", Consumption(input_tokens=5, output_tokens=5)),
        ("veo-3", Consumption(seconds=8)),
    ],
)
async def test_what_nobody_can_price_costs_null_and_not_nothing(
    prices: Prices, model: str, used: Consumption
) -> None:
    assert prices.cost(call(model), used) is None


async def test_model_that_answered_is_priced_before_the_one_that_was_asked(prices: Prices) -> None:
    used = Consumption(input_tokens=1_000_000, output_tokens=0)
    deployment = call("my-deployment", Provider.AZURE)
    assert prices.cost(deployment, used) is None
    luna = prices.cost(call("gpt-6-luna"), used)
    assert luna is not None
    assert prices.cost(deployment, used, "gpt-6-luna-2026-08-01") == luna
    assert prices.cost(replace(deployment, known_model="gpt-6-luna"), used) == luna


async def test_compatible_endpoint_has_the_price_of_openais_model_of_that_name(
    prices: Prices,
) -> None:
    used = Consumption(input_tokens=1_000, output_tokens=1_000)
    gateway = replace(
        call("gpt-6-luna", Provider.COMPATIBLE), base_url="https://gateway.example/v1"
    )
    assert prices.cost(gateway, used) == prices.cost(call("gpt-6-luna"), used)
    assert prices.cost(replace(gateway, model="llama-3.3-70b"), used) is None


async def test_own_prices_come_before_the_list() -> None:
    own = Prices(
        {
            "gpt-6-luna": ModelPrice(input=1, output=2),
            "my-deployment": ModelPrice(input=1, cached=0.5, output=2),
            "painter": ModelPrice(image=0.04),
            "veo-3": ModelPrice(second=0.4),
            "input-only": ModelPrice(input=1),
        }
    )
    await own.load()
    tokens = Consumption(input_tokens=1_000_000, cached_tokens=200_000, output_tokens=500_000)
    assert own.cost(call("gpt-6-luna"), tokens) == 2.0
    assert own.cost(call("my-deployment"), tokens) == pytest.approx(0.8 + 0.1 + 1.0)
    painted = Consumption(input_tokens=50, output_tokens=4_000, images=3)
    assert own.cost(call("painter"), painted) == pytest.approx(0.12)
    assert own.cost(call("veo-3"), Consumption(seconds=8)) == pytest.approx(3.2)
    assert own.cost(call("veo-3"), Consumption(input_tokens=8)) is None
    assert own.cost(call("input-only"), tokens) is None
    assert own.cost(call("input-only"), Consumption(input_tokens=10, output_tokens=0)) == 0.00001


async def test_parts_that_exceed_their_whole_are_cut(prices: Prices) -> None:
    used = Consumption(input_tokens=10, cached_tokens=20, output_tokens=5, output_image_tokens=9)
    assert prices.cost(call("gpt-6-luna"), used) is not None


@pytest.mark.parametrize(
    "model",
    ["gpt-6-luna", "gpt-image-2.5-flare", "gpt-4o-transcribe", "chatgpt-image-latest", "tts-1"],
)
async def test_rates_make_the_same_as_the_library_in_every_tier(prices: Prices, model: str) -> None:
    library = get_snapshot().find_provider_model(model, None, "openai", None)[1]
    for tokens in (0, 1, 999, 272_000, 272_001, 1_500_000):
        for part in (None, 0, tokens // 3, tokens):
            counts = {"input_tokens": tokens, "output_tokens": 777}
            used = Consumption(**counts, cached_tokens=part, characters=tokens)
            if model == "tts-1":
                counts = {"input_characters": tokens}
            elif part is not None:
                counts["cache_read_tokens"] = part
            price = library.calc_price(
                Usage(**counts),
                get_snapshot().find_provider(None, "openai", None),
                genai_request_timestamp=datetime.now(UTC),
            )
            cost = prices.cost(call(model), used)
            assert cost == pytest.approx(float(price.total_price), abs=1e-9), (tokens, part)


async def test_list_is_loaded_once_and_concurrent_first_calls_wait_for_it() -> None:
    import asyncio

    listed = Prices({})
    await asyncio.gather(*(listed.load() for _ in range(5)))
    assert listed.cost(call("gpt-6-luna"), Consumption(input_tokens=1, output_tokens=1)) is not None
