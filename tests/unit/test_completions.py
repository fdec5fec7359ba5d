from typing import Any

import pytest

from shared.errors import ProviderUnavailable
from shared.openai_service import Completion, ToolCall, Usage, sum_usage
from shared.openai_service.completions import CompletionReader, read_completion


def chunk(
    delta: dict[str, Any] | None = None,
    finish_reason: str | None = None,
    usage: dict[str, Any] | None = None,
) -> dict[str, Any]:
    choices = (
        [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish_reason}]
    )
    return {"id": "c", "model": "m", "choices": choices, "usage": usage}


def call_delta(
    index: int | None, id: str | None = None, name: str | None = None, arguments: str | None = None
) -> dict[str, Any]:
    return {
        "tool_calls": [
            {"index": index, "id": id, "function": {"name": name, "arguments": arguments}}
        ]
    }


def read(*chunks: object) -> Completion:
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


FOREIGN: list[object] = [
    "plain text",
    None,
    [],
    {},
    {"choices": []},
    {"choices": None},
    {"choices": "text"},
    {"choices": ["text"]},
    {"choices": [{"message": None}]},
]


@pytest.mark.parametrize("document", FOREIGN)
def test_foreign_document_is_no_completion(document: object) -> None:
    with pytest.raises(ProviderUnavailable, match="not a chat completion"):
        read_completion(document)


@pytest.mark.parametrize("document", [*FOREIGN, {"choices": [{"delta": "text"}]}, {"usage": 3}])
def test_foreign_chunk_adds_nothing(document: object) -> None:
    assert read(chunk({"content": "Hi"}), document, chunk({}, "stop")).text == "Hi"


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


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("stop", "stop"),
        ("STOP", "stop"),
        ("end_turn", "stop"),
        ("length", "length"),
        ("MAX_TOKENS", "length"),
        ("content_filter", "content_filter"),
        ("SAFETY", "content_filter"),
        ("PROHIBITED_CONTENT", "content_filter"),
        ("content_filter: RECITATION", "content_filter"),
        ("function_call", "stop"),
        ("tool_calls", "stop"),
        ("MALFORMED_FUNCTION_CALL", "malformed_function_call"),
        (None, None),
    ],
)
def test_reason_for_the_end_of_a_text_is_openais_where_it_has_one(
    given: str | None, reason: str | None
) -> None:
    assert read(chunk({"content": "Hi"}), chunk({}, given)).finish_reason == reason
    message = {"role": "assistant", "content": "Hi"}
    whole = {"model": "m", "choices": [{"index": 0, "message": message, "finish_reason": given}]}
    assert read_completion(whole).finish_reason == reason


@pytest.mark.parametrize("given", ["stop", "STOP", "tool_calls", "function_call", "TOOL_USE", None])
def test_reason_for_the_end_after_calls_is_the_calls(given: str | None) -> None:
    completion = read(chunk(call_delta(0, "a", "one", "{}")), chunk({}, given))
    assert (completion.finish_reason, len(completion.tool_calls)) == ("tool_calls", 1)


def test_calls_that_were_cut_say_so() -> None:
    completion = read(chunk(call_delta(0, "a", "one", '{"x"')), chunk({}, "length"))
    assert (completion.finish_reason, len(completion.tool_calls)) == ("length", 1)


def test_calls_that_the_filter_interrupted_are_not_made() -> None:
    completion = read(
        chunk({"content": "Well"}), chunk(call_delta(0, "a", "one", '{"x"')), chunk({}, "SAFETY")
    )
    assert completion == Completion("Well", (), "m", "content_filter", None)


def test_calls_without_ids_and_indices_are_calls_of_their_own() -> None:
    first, second = read(
        chunk(call_delta(None, None, "one", "{}")), chunk(call_delta(None, "", "two", "{}"), "stop")
    ).tool_calls
    assert [(call.name, call.arguments) for call in (first, second)] == [
        ("one", "{}"),
        ("two", "{}"),
    ]
    assert first.id != second.id


def test_pieces_without_ids_and_indices_belong_to_the_call_before() -> None:
    (call,) = read(
        chunk(call_delta(None, "a", "one", '{"x"')),
        chunk(call_delta(None, None, None, ":1}"), "stop"),
    ).tool_calls
    assert call == ToolCall("a", "one", '{"x":1}')


def test_what_azures_filter_says_meanwhile_changes_nothing() -> None:
    head: dict[str, Any] = {"id": "", "model": "", "created": 0, "object": ""}
    prompt = {**head, "choices": [], "prompt_filter_results": []}
    checked = {"index": 0, "finish_reason": None, "content_filter_offsets": {"check_offset": 1}}
    annotation = {**head, "choices": [checked]}
    assert read(prompt, chunk({"content": "Hi"}), annotation, chunk({}, "stop")) == Completion(
        "Hi", (), "m", "stop", None
    )


def test_what_the_provider_wants_back_with_a_call_stands_in_the_message() -> None:
    signature = {"google": {"thought_signature": "s"}}
    delta = call_delta(0, "a", "one", "{}")
    delta["tool_calls"][0]["extra_content"] = signature
    (call,) = read(chunk(delta), chunk({}, "stop")).tool_calls
    assert call.as_message_part() == {
        "id": "a",
        "type": "function",
        "function": {"name": "one", "arguments": "{}"},
        "extra_content": signature,
    }


def test_halves_of_characters_in_two_chunks_are_joined() -> None:
    reader = CompletionReader()
    pieces = [
        reader.add(chunk({"content": "a\ud83d"})),
        reader.add(chunk({"content": "\ude00b\ude00"})),
        reader.add(chunk({"content": "\ud83d"}, "stop")),
    ]
    assert pieces == ["a", "\U0001f600b\ufffd", ""]
    assert reader.result().text == "".join(pieces)


def test_halves_of_characters_in_calls_are_replaced() -> None:
    completion = read(chunk(call_delta(0, "x", "no\ud83d", '{"a": "\ud83d'), None))
    assert completion.tool_calls == (ToolCall("x", "no\ufffd", '{"a": "\ufffd'),)
