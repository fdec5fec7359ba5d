from typing import Any

import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from shared.errors import ProviderUnavailable
from shared.openai_service import Completion, ToolCall, Usage, sum_usage
from shared.openai_service.completions import CompletionReader, read_completion


def chunk(
    delta: dict[str, Any] | None = None,
    finish_reason: str | None = None,
    usage: dict[str, Any] | None = None,
) -> ChatCompletionChunk:
    choices = (
        [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish_reason}]
    )
    return ChatCompletionChunk.construct(
        id="c", model="m", choices=choices, usage=usage, created=0, object="chat.completion.chunk"
    )


def call_delta(
    index: int | None, id: str | None = None, name: str | None = None, arguments: str | None = None
) -> dict[str, Any]:
    return {
        "tool_calls": [
            {"index": index, "id": id, "function": {"name": name, "arguments": arguments}}
        ]
    }


def read(*chunks: ChatCompletionChunk) -> Completion:
    reader = CompletionReader()
    for each in chunks:
        reader.add(each)
    return reader.result()


def test_pieces_of_text_add_up() -> None:
    reader = CompletionReader()
    pieces = [
        reader.add(chunk({"role": "assistant", "content": None})),
        reader.add(chunk({"content": "Hel"})),
        reader.add(chunk({"content": "lo"})),
        reader.add(chunk({}, "stop")),
        reader.add(chunk(usage={"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3})),
    ]
    assert pieces == ["", "Hel", "lo", "", ""]
    assert reader.result() == Completion(
        "Hello",
        (),
        "m",
        "stop",
        Usage(
            prompt_tokens=1,
            completion_tokens=2,
            total_tokens=3,
            cached_tokens=None,
            reasoning_tokens=None,
        ),
    )


def test_pieces_of_parallel_calls_add_up() -> None:
    completion = read(
        chunk(call_delta(0, "a", "one", "")),
        chunk(call_delta(1, "b", "two", '{"x"')),
        chunk(call_delta(0, None, None, "{}")),
        chunk(call_delta(1, None, None, ":1}")),
        chunk({}, "tool_calls"),
    )
    assert completion.tool_calls == (ToolCall("a", "one", "{}"), ToolCall("b", "two", '{"x":1}'))


@pytest.mark.parametrize("index", [0, None])
def test_whole_calls_under_one_index_are_calls_of_their_own(index: int | None) -> None:
    completion = read(
        chunk(call_delta(index, "a", "one", "{}")),
        chunk(call_delta(index, "b", "two", "{}"), "stop"),
    )
    assert completion.tool_calls == (ToolCall("a", "one", "{}"), ToolCall("b", "two", "{}"))


def test_call_without_an_id_gets_one() -> None:
    (call,) = read(chunk(call_delta(0, None, "one", "{}"), "stop")).tool_calls
    assert call.id.startswith("call_")
    assert (call.name, call.arguments) == ("one", "{}")


def test_calls_under_one_id_get_ids_of_their_own() -> None:
    first, second = read(
        chunk(call_delta(0, "same", "one", "{}")), chunk(call_delta(1, "same", "two", "{}"), "stop")
    ).tool_calls
    assert (first.id, first.name, second.name) == ("same", "one", "two")
    assert second.id.startswith("call_")


def test_refusal_is_the_text() -> None:
    assert read(chunk({"refusal": "No."}, "stop")).text == "No."


@pytest.mark.parametrize("answer", ["plain text", {}, {"choices": []}, {"choices": None}])
def test_foreign_document_is_no_completion(answer: Any) -> None:
    document = answer if isinstance(answer, str) else ChatCompletion.construct(**answer)
    with pytest.raises(ProviderUnavailable, match="not a chat completion"):
        read_completion(document)  # type: ignore[arg-type]


def test_usage_sums_what_was_reported_and_invents_nothing() -> None:
    first = Usage(
        prompt_tokens=1,
        completion_tokens=2,
        total_tokens=3,
        cached_tokens=None,
        reasoning_tokens=4,
    )
    second = Usage(
        prompt_tokens=10,
        completion_tokens=20,
        total_tokens=30,
        cached_tokens=None,
        reasoning_tokens=None,
    )
    assert sum_usage([first, None, second]) == Usage(
        prompt_tokens=11,
        completion_tokens=22,
        total_tokens=33,
        cached_tokens=None,
        reasoning_tokens=4,
    )
    assert sum_usage([None, None]) is None
    assert sum_usage([]) is None
