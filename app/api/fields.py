"""What a request may say: the fields of OpenAI's interface, and those of vLLM that have a meaning here.

A field that is not here is refused, and so is a value that could not be honoured. Null is absence.
"""

from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from core.errors import InvalidSettingError, shown

MOST_TOP_LOGPROBS = 20
MOST_CHOICES = 32
# Fields whose values are JSON of others, where null is a word as any.
_VERBATIM = ("schema", "json", "specdecodes", "metadata")

RequestT = TypeVar("RequestT", bound="Asked")


class FieldError(InvalidSettingError):
    """A field that cannot be honoured; `param` names it."""

    def __init__(self, param: str, sentence: str):
        super().__init__(sentence)
        self.param = param


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class StreamOptions(_Strict):
    """What is told in a stream besides the answer."""

    include_usage: bool = False
    continuous_usage_stats: bool = False
    include_obfuscation: Literal[False] = False


class JsonSchema(_Strict):
    """A schema that the answer follows."""

    name: str = ""
    description: str = ""
    schema_: Annotated[dict[str, Any], Field(alias="schema")]
    strict: bool = True
    """An answer follows it in either case."""


class ResponseFormat(_Strict):
    """How the answer is written: freely, as any JSON object, or by a schema."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None


class StructuredOutputs(_Strict):
    """vLLM's word for the same, and for other forms; one of them."""

    json_: Annotated[dict[str, Any] | str | None, Field(alias="json")] = None
    json_object: bool | None = None
    regex: str | None = None
    choice: Annotated[list[str], Field(min_length=1)] | None = None
    grammar: str | None = None


class Asked(_Strict):
    """The fields that both kinds of requests have."""

    model: str
    stream: bool = False
    stream_options: StreamOptions | None = None
    n: Annotated[int, Field(ge=1, le=MOST_CHOICES)] = 1
    max_tokens: int | None = None
    stop: str | list[str] = []
    seed: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    min_tokens: int | None = None
    ignore_eos: bool | None = None
    return_token_ids: bool = False
    response_format: ResponseFormat | None = None
    structured_outputs: StructuredOutputs | None = None
    specdecodes: dict[str, Any] = {}
    """Settings of the run that this interface has no fields for, such as its mode."""

    # What tells the sender's own service something, and changes no answer.
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    metadata: dict[str, Any] | None = None
    store: Literal[False] = False
    service_tier: Literal["auto", "default"] = "auto"


class TextPart(_Strict):
    """A part of a message."""

    type: Literal["text"]
    text: str


class ChatMessage(_Strict):
    """A message of a chat."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[TextPart]


class ChatAsked(Asked):
    """A body of `/v1/chat/completions`."""

    messages: Annotated[list[ChatMessage], Field(min_length=1)]
    max_completion_tokens: int | None = None
    logprobs: bool = False
    top_logprobs: Annotated[int, Field(ge=0, le=MOST_TOP_LOGPROBS)] | None = None
    modalities: list[Literal["text"]] | None = None
    # Without tools these say what holds anyhow.
    tools: Annotated[list[Any], Field(max_length=0)] = []
    tool_choice: Literal["none", "auto"] = "none"
    parallel_tool_calls: bool | None = None

    @property
    def num_logprobs(self) -> int | None:
        """How many alternatives are told with each token; None for no probabilities at all."""
        return (self.top_logprobs or 0) if self.logprobs else None


class CompletionAsked(Asked):
    """A body of `/v1/completions`."""

    prompt: str | list[str] | list[int] | list[list[int]]
    logprobs: Annotated[int, Field(ge=0, le=MOST_TOP_LOGPROBS)] | None = None
    echo: bool = False
    best_of: int | None = None

    @property
    def num_logprobs(self) -> int | None:
        """See `ChatAsked.num_logprobs`."""
        return self.logprobs


def read_fields(cls: type[RequestT], body: dict[str, Any]) -> RequestT:
    """The fields of a body; raises FieldError with one sentence for what is wrong."""
    try:
        return cls.model_validate(_without_nulls(body))
    except ValidationError as error:
        # Of a value that may be of several kinds, the one that it is nearest to.
        wrong = max(error.errors(include_url=False), key=lambda item: len(item["loc"]))
    param = ".".join(str(part) for part in wrong["loc"] if not _is_kind(part))
    match wrong["type"]:
        case "extra_forbidden":
            sentence = f"{shown(param)} is no field that is known here; leave it out."
        case "missing":
            sentence = f"{param} is missing; give it."
        case _:
            wanted = wrong["msg"].removeprefix("Input should be ")
            if wanted.startswith(("greater", "less")):
                wanted = f"a number {wanted}"
            sentence = f"{param} is {shown(wrong['input'])}; give {wanted[:1].lower()}{wanted[1:]}."
    raise FieldError(param, sentence)


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            name: part if name in _VERBATIM else _without_nulls(part)
            for name, part in value.items()
            if part is not None
        }
    return [_without_nulls(part) for part in value] if isinstance(value, list) else value


def _is_kind(part: int | str) -> bool:
    """Whether a part of a place names one of several kinds that a value may be of."""
    return part == "str" or "[" in str(part)
