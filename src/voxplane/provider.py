"""What a provider is: typed settings, typed secrets, and the facts that go with them.

A provider is one `ProviderDefinition` in one file. Its two Pydantic models are the only source of its defaults, its
validation, its JSON Schema and, through that, of its form, its help and its documentation.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import logging
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from functools import cache, cached_property, lru_cache
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Generic, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    SecretStr,
    TypeAdapter,
    ValidationError,
    WithJsonSchema,
    create_model,
    model_validator,
)
from pydantic_core import CoreSchema, PydanticCustomError

from voxplane.destination import MAX_URL_LENGTH, Origin
from voxplane.errors import DestinationUnapproved, FieldError, Invalid, MissingDependency, SecretsMissing
from voxplane.model_version import model_of
from voxplane.rules import Forbids, NotAbove, Requires, Rule
from voxplane.schemas import (
    Destination,
    Hosting,
    JsonObject,
    Metadata,
    Model,
    ModelStatus,
    Offer,
    Provider,
    ProviderSummary,
    ProviderType,
    Sparse,
    Voice,
    field_errors,
    without_null,
)

if TYPE_CHECKING:
    from datetime import date

    from voxplane.listing import Listing
    from voxplane.plugin import Construct, Framework, Plugin
    from voxplane.probe import Probe

Upgrade = Callable[[JsonObject], JsonObject]
Widget = Literal["model-picker", "voice-picker", "textarea", "slider", "tags", "duration", "language"]

MAX_SECRET_LENGTH = 8192
_SECRET_NAME = re.compile(r"(?i)key|secret|token|password|credential|authorization")


@dataclass(frozen=True, kw_only=True)
class UI:
    """How a form shows a setting; emitted as `x-ui` in the JSON Schema."""

    unit: str | None = None
    group: str | None = None
    advanced: bool = False
    widget: Widget | None = None
    placeholder: str | None = None
    help: str | None = None
    labels: dict[str, str] | None = None
    costly: bool = False
    binds_secret: bool = False
    """Whether the setting decides where the key is sent; it must then stand in the definition's destinations."""
    pattern_hint: tuple[str, str] | None = None
    """A shape that values usually have, and the sentence for one that has not: a warning, never a refusal."""

    def __get_pydantic_json_schema__(self, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonObject:
        schema = handler(core_schema)
        hints = {
            "unit": self.unit,
            "group": self.group,
            "advanced": self.advanced,
            "widget": self.widget,
            "placeholder": self.placeholder,
            "help": self.help,
            "labels": self.labels,
            "costly": self.costly,
            "bindsSecret": self.binds_secret,
            "patternHint": self.pattern_hint and {"pattern": self.pattern_hint[0], "message": self.pattern_hint[1]},
        }
        given = {name: value for name, value in hints.items() if value}
        return {**schema, "x-ui": {**schema.get("x-ui", {}), **given}}


def _title(name: str, _info: object) -> str:
    return name.replace("_", " ").capitalize()


_MAX_VALIDATED = 1000
_MAX_VALIDATED_LENGTH = 2000
# A setting is explained by the docstring below it, and called by its name in words unless it has a better title.
_DESCRIBED = ConfigDict(use_attribute_docstrings=True, field_title_generator=_title)


class ProviderConfig(Sparse):
    """Base of a provider's settings. A field without a default must be set before the provider can be used."""

    model_config = _DESCRIBED

    rules: ClassVar[tuple[Rule, ...]] = ()
    orders: ClassVar[tuple[NotAbove, ...]] = ()

    @model_validator(mode="after")
    def _obey_rules(self) -> Self:
        # Conditions look at defaults and overrides together, restrictions at what was given.
        merged = self.model_dump(mode="json", by_alias=True, exclude_none=True)
        given = self.model_dump(mode="json", by_alias=True, exclude_unset=True)
        wrong = [error for rule in self.rules if rule.when.holds(merged) for error in rule.check(given, merged)]
        wrong += [error for order in self.orders for error in order.check(merged)]
        if wrong:
            # The first rule that refuses a setting explains it, so a narrower rule stands before a wider one.
            first: dict[str, tuple[str, str, str]] = {}
            for error in wrong:
                first.setdefault(error[0], error)
            raise field_errors(type(self), list(first.values()))
        return self

    def effective(self) -> JsonObject:
        """Return the settings in force (wire names): unset ones and those that the rules forbid are left out."""
        merged: JsonObject = self.model_dump(mode="json", by_alias=True, exclude_none=True)
        dropped = {
            name
            for rule in self.rules
            if isinstance(rule, Forbids) and rule.when.holds(merged)
            for name in rule.settings
        }
        return {name: value for name, value in merged.items() if name not in dropped}

    @classmethod
    def defaults(cls) -> JsonObject:
        """Return the settings in force without any override, as far as they have defaults."""
        return cls.model_construct().effective()

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonObject:
        """Add the rules to the schema as conditionals that restrict and declare nothing."""
        schema = super().__get_pydantic_json_schema__(core_schema, handler)
        if cls.rules:
            defaults = cls.model_construct().model_dump(mode="json", by_alias=True, exclude_none=True)
            schema["allOf"] = [rule.when.branches(defaults, rule.restriction()) for rule in cls.rules]
        return schema


class ProviderSecrets(BaseModel):
    """Base of a provider's secrets: every field is a `SecretStr`, which neither prints nor serialises."""

    model_config = ConfigDict({**Sparse.model_config, **_DESCRIBED}, hide_input_in_errors=True)

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonObject:
        """Describe secrets as strings that are written and never read."""
        schema = handler.resolve_ref_schema(handler(core_schema))
        for name, described in schema.get("properties", {}).items():
            plain = without_null(described)
            plain.pop("format", None)
            schema["properties"][name] = plain
        return schema


class NoSecrets(ProviderSecrets):
    """The secrets of a provider that needs none."""


_NAME = "[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_PORT_AND_PATH = "(?::[1-9][0-9]{0,4})?(?:/[A-Za-z0-9._~-]+)*/?"
_REMOTE = rf"(?:https|wss)://(?:{_NAME}(?:\.{_NAME})*|\[[0-9A-Fa-f:.]+\]){_PORT_AND_PATH}"
_LOOPBACK = rf"(?:http|ws)://(?:localhost|127(?:\.[0-9]{{1,3}}){{3}}|\[::1\]){_PORT_AND_PATH}"


def _server_url(pattern: str, *, local: bool) -> tuple[AfterValidator, WithJsonSchema]:
    def check(url: str) -> str:
        try:
            origin = Origin.parse(url)
        except ValueError as error:
            raise PydanticCustomError("address", "{reason}", {"reason": str(error)}) from None
        if origin.is_loopback and not local:
            raise PydanticCustomError("address", "write an address that is not the worker's own machine")
        if origin.scheme != "https" and not origin.is_loopback:
            raise PydanticCustomError("address", "write an address that starts with https:// or wss://")
        if not re.fullmatch(pattern, url):
            raise PydanticCustomError("address", "write an address in its usual form, such as https://host/path")
        return url

    schema = {"type": "string", "format": "uri", "maxLength": MAX_URL_LENGTH, "pattern": f"^(?:{pattern})$"}
    return AfterValidator(check), WithJsonSchema(schema)


# JSON Schema sees the shape; that a host is no odd spelling of a number is for the server alone to say.
ServerUrl = Annotated[str, *_server_url(_REMOTE, local=False)]
LocalServerUrl = Annotated[str, *_server_url(f"{_REMOTE}|{_LOOPBACK}", local=True)]
"""An address that may also be plain http or ws on the worker's own machine: for providers that have no secrets."""

# Nearly all settings name the same few addresses, and each is read again with every request.
_origin = lru_cache(maxsize=1024)(Origin.parse)

Secret = Annotated[SecretStr, Field(min_length=1, max_length=MAX_SECRET_LENGTH)]
_log = logging.getLogger("voxplane")
C = TypeVar("C", bound=ProviderConfig)
S = TypeVar("S", bound=ProviderSecrets)


@dataclass(frozen=True)
class Destinations(Generic[C]):
    """Where calls with these settings go, and so where the key travels.

    `settings` are the wire names that decide it; `urls` gives every address for a valid config.
    """

    settings: tuple[str, ...]
    urls: Callable[[C], Sequence[str]]


@dataclass(frozen=True, kw_only=True, eq=False)
class ProviderDefinition(Generic[C, S]):
    """Everything that Voxplane knows about one provider."""

    key: str
    type: ProviderType
    name: str
    hosting: Hosting
    description: str
    capabilities: tuple[str, ...]
    config: type[C]
    secrets: type[S]
    destinations: Destinations[C]
    docs_url: str
    pricing_url: str | None = None
    console_url: str | None = None
    models: tuple[Model, ...] = ()
    """What is known of the models that its model setting can name."""
    versions: tuple[str, ...] = ()
    """What the vendor puts behind a model's name to name a version of it, as patterns (`model_version`)."""
    voices: tuple[Voice, ...] = ()
    """What is known of the voices that its voice setting can name, as far as they are not an account's own."""
    shares_secrets_with: str | None = None
    probe: Probe | None = field(default=None, repr=False)
    """How to test that it works; without one, a test says that it cannot be tested."""
    lists_models: tuple[Listing, ...] = field(default=(), repr=False)
    """How the vendor lists its models; the first whose condition holds is asked."""
    lists_voices: tuple[Listing, ...] = field(default=(), repr=False)
    """How the vendor lists its voices, likewise."""
    requires_secrets: tuple[Requires, ...] = ()
    """Secrets needed under a condition on the settings; those needed always have no default in `secrets`."""
    livekit: tuple[Plugin, ...] = field(default=(), repr=False)
    """The LiveKit classes for it; the first whose condition holds is taken."""
    pipecat: tuple[Plugin, ...] = field(default=(), repr=False)
    """The Pipecat classes for it, likewise."""
    upgrades: tuple[Upgrade, ...] = field(default=(), repr=False)
    """Pure steps that bring an override written under an older schema up to date, oldest first."""

    @property
    def schema_version(self) -> int:
        """The version that a row written now carries: how many upgrades there are."""
        return len(self.upgrades)

    def upgrade(self, overrides: JsonObject, schema_version: int) -> JsonObject:
        """Bring a stored override up to the present schema; the input is left as it is."""
        for step in self.upgrades[schema_version:]:
            overrides = step(dict(overrides))
        return overrides

    def validate(self, overrides: JsonObject, *, at: str = "", is_whole: bool = True) -> C:
        """Check an override and merge it over the defaults.

        What need not be whole may lack what is still to be chosen, as a voice is with the key that lists them. What
        decides where calls go is needed all the same. What was found valid lately is not checked again: most
        organizations set the same few things.

        Raises:
            Invalid: with a JSON Pointer under `at` for each setting that is wrong.
        """
        try:
            text = json.dumps(overrides)
        except (TypeError, ValueError, RecursionError):  # no JSON, so nothing that is valid
            return self._validated_anew(overrides, at, self.config)
        model = self.config if is_whole else self._unfinished
        known = self._validated.get((model, text))
        if known is None:
            known = self._validated_anew(overrides, at, model)
            if len(self._validated) >= _MAX_VALIDATED:
                self._validated.clear()
            if len(text) <= _MAX_VALIDATED_LENGTH:
                self._validated[model, text] = known
        return known

    @cached_property
    def _validated(self) -> dict[tuple[type[C], str], C]:
        return {}

    def _validated_anew(self, overrides: JsonObject, at: str, model: type[C]) -> C:
        wrong = [self._unknown_setting(name, at) for name in overrides if name not in self.setting_names]
        try:
            found = model.model_validate({name: overrides[name] for name in overrides if name in self.setting_names})
        except ValidationError as error:
            wrong += pointed(error, at, self.entry.config_schema["properties"])
            raise Invalid(wrong) from None
        if wrong:
            raise Invalid(wrong)
        return found

    @cached_property
    def _unfinished(self) -> type[C]:
        fields: dict[str, Any] = {}
        for name, info in self.config.model_fields.items():
            if info.is_required() and (info.alias or name) not in self.destinations.settings:
                may_lack = copy(info)
                may_lack.default = None
                fields[name] = (info.annotation, may_lack)
        return create_model(self.config.__name__, __base__=self.config, **fields) if fields else self.config

    @cached_property
    def setting_names(self) -> tuple[str, ...]:
        """The settings at the top of an override."""
        return tuple(info.alias or name for name, info in self.config.model_fields.items())

    def _unknown_setting(self, name: str, at: str) -> FieldError:
        # The name is the caller's own text and may be a pasted key: the pointer stops above it.
        near = difflib.get_close_matches(name, self.setting_names, n=1, cutoff=0.8)
        is_a_slip = bool(near) and _SECRET_NAME.search(near[0]) is not None  # maxToken is meant to be maxTokens
        if name in self.secret_names or (_SECRET_NAME.search(name) and not is_a_slip):
            message = "A setting here is named like a secret; store it with PUT .../secrets instead."
            return FieldError(at, "belongs_in_secrets", message)
        return unknown_field(at, name, self.setting_names)

    def validate_secret(self, name: str, value: str, *, at: str) -> SecretStr:
        """Check one secret by itself, under the pointer `at`; secrets are merged field by field.

        Raises:
            Invalid: the provider has no such secret, or the value cannot be one.
        """
        adapter = self._secret_fields.get(name)
        if adapter is None:
            raise Invalid([unknown_field(at, name, self.secret_names)])
        at = f"{at}/{name}"
        if not 1 <= len(value) <= MAX_SECRET_LENGTH:
            raise Invalid([FieldError(at, "length", f"Give 1 to {MAX_SECRET_LENGTH} characters.")])
        try:
            return adapter.validate_python(value)
        except ValidationError as error:
            raise Invalid(pointed(error, at)) from None

    def unlike_a_secret(self, name: str, value: str) -> str | None:
        """Return the hint of the definition for a value that does not look as this secret usually does."""
        hint = self.entry.secrets_schema["properties"][name].get("x-ui", {}).get("patternHint")
        return None if hint is None or re.search(hint["pattern"], value) else hint["message"]

    @cached_property
    def _secret_fields(self) -> dict[str, TypeAdapter[SecretStr]]:
        return {
            # The field's own constraints, without the alias that means something only inside its model.
            info.alias or name: TypeAdapter(Annotated.__class_getitem__((info.annotation, Field(), *info.metadata)))  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType, reportUnknownArgumentType]
            for name, info in self.secrets.model_fields.items()
        }

    @property
    def secret_names(self) -> tuple[str, ...]:
        """The wire names of all its secrets."""
        return tuple(self._secret_fields)

    def required_secrets(self, effective: JsonObject) -> frozenset[str]:
        """Return the secrets that these settings cannot do without."""
        conditional = {name for rule in self.requires_secrets if rule.when.holds(effective) for name in rule.settings}
        return self._always_required_secrets | conditional

    @cached_property
    def _always_required_secrets(self) -> frozenset[str]:
        fields = self.secrets.model_fields
        return frozenset(info.alias or name for name, info in fields.items() if info.is_required())

    def effective_origins(self, config: C) -> frozenset[Origin]:
        """Return every place that a call with these settings connects to.

        Raises:
            ValueError: a setting is no address; `validate` refuses such settings, so stored ones are meant here.
        """
        return frozenset(_origin(url) for url in self.destinations.urls(config))

    def plugin(self, framework: Framework, settings: JsonObject) -> Plugin:
        """Return the framework's class for these settings in force.

        Raises:
            MissingDependency: the framework has no class for this provider.
        """
        plugins: tuple[Plugin, ...] = getattr(self, framework)
        found = next((plugin for plugin in plugins if plugin.when is None or plugin.when.holds(settings)), None)
        if found is None:
            raise MissingDependency(f"{self.name} cannot be used with {framework}: it has no class for it.")
        return found

    def construct(
        self, framework: Framework, settings: JsonObject, secrets: Mapping[str, str], origins: Collection[str]
    ) -> Construct:
        """Lay out the framework's object for settings in force, as a worker received them.

        `origins` are the places that came with the secrets; nothing is laid out that would connect elsewhere. A
        control plane of a later release may have settings that this one does not know: those are passed over.

        Raises:
            SecretsMissing: a secret that these settings need did not come.
            DestinationUnapproved: these settings lead to a place that did not come with the secrets.
            MissingDependency: the framework has no class for this provider.
            Invalid: this release cannot read the settings.
        """
        known = {info.alias or name for name, info in self.config.model_fields.items()}
        if unknown := frozenset(settings) - known:
            _pass_over(self.key, unknown)
            settings = {name: value for name, value in settings.items() if name in known}
        plugin = self.plugin(framework, settings)
        # A class that is given an empty key takes the environment's instead.
        given = {name: value for name, value in secrets.items() if value}
        if missing := self.required_secrets(settings) - set(given):
            raise SecretsMissing(f"{self.name} cannot be used without {', '.join(sorted(missing))}.")
        if not {str(origin) for origin in self.effective_origins(self.validate(settings))} <= set(origins):
            raise DestinationUnapproved
        return plugin.construct(settings, given)

    @cached_property
    def default_origins(self) -> frozenset[Origin]:
        """The provider's own origins: where calls go when nothing that decides it is overridden."""
        fields = self.config.model_fields
        decided_by = [info for name, info in fields.items() if (info.alias or name) in self.destinations.settings]
        if any(info.is_required() for info in decided_by):
            # A setting without a default decides it, as an Azure endpoint does: every origin is the customer's own.
            return frozenset()
        return self.effective_origins(self.config.model_construct())

    @cached_property
    def config_schema(self) -> JsonObject:
        """The JSON Schema (2020-12) of an override; a setting that names a model or a voice suggests those known."""
        schema = _schema(self.config)
        for setting, offers in self.named.items():
            if suggested := offered(offers):
                schema["properties"][setting]["examples"] = suggested
        return schema

    @cached_property
    def model_setting(self) -> str | None:
        """The setting that names a model, if there is one."""
        return self._picked_by("model-picker")

    @cached_property
    def voice_setting(self) -> str | None:
        """The setting that names a voice, if there is one."""
        return self._picked_by("voice-picker")

    @cached_property
    def named(self) -> dict[str, tuple[Model, ...] | tuple[Voice, ...]]:
        """What is known of the values of its model setting and of its voice setting."""
        found: dict[str | None, tuple[Model, ...] | tuple[Voice, ...]]
        found = {self.model_setting: self.models, self.voice_setting: self.voices}
        return {setting: offers for setting, offers in found.items() if setting is not None}

    def known_of(self, setting: str | None, value: object) -> Model | Voice | None:
        """Return what is known of a value of its model or voice setting; None when nothing is.

        Its own entry says most. Without one, a version is as the model that its name says it is of, and then the name
        in what is returned is that model's.
        """
        offers = self._by_name.get(setting)
        if offers is None or not isinstance(value, str):
            return None
        if (own := offers.get(value)) is not None or setting != self.model_setting:
            return own
        return offers.get(model_of(value, self.versions) or "")

    @cached_property
    def _by_name(self) -> dict[str | None, dict[str, Model | Voice]]:
        return {setting: {each.name: each for each in offers} for setting, offers in self.named.items()}

    def _picked_by(self, widget: Widget) -> str | None:
        for name, info in self.config.model_fields.items():
            if any(isinstance(ui, UI) and ui.widget == widget for ui in info.metadata):
                return info.alias or name
        return None

    @cached_property
    def secrets_schema(self) -> JsonObject:
        """The JSON Schema (2020-12) of the secrets."""
        return _schema(self.secrets)

    @cached_property
    def summary(self) -> ProviderSummary:
        """The provider as it stands in an organization's list."""
        return ProviderSummary(
            key=self.key,
            name=self.name,
            type=self.type,
            hosting=self.hosting,
            description=self.description,
            capabilities=self.capabilities,
            metadata=Metadata(docs_url=self.docs_url, pricing_url=self.pricing_url, console_url=self.console_url),
        )

    @cached_property
    def entry(self) -> Provider:
        """The provider as it stands in the catalogue."""
        return Provider(
            **dict(self.summary),
            config_schema=self.config_schema,
            secrets_schema=self.secrets_schema,
            default_config=self.config.defaults(),
            models=self.models,
            voices=self.voices,
            destination=Destination(
                fields=self.destinations.settings,
                default_origins=tuple(sorted(str(origin) for origin in self.default_origins)),
            ),
            shares_secrets_with=self.shares_secrets_with,
        )

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the catalogue entry in hex: equal when nothing about the provider changed."""
        entry = json.dumps(self.entry.model_dump(mode="json", by_alias=True), sort_keys=True)
        return hashlib.sha256(entry.encode()).hexdigest()


AnyProvider = ProviderDefinition[Any, Any]


def known(
    *names: str,
    status: ModelStatus = "current",
    retires_on: date | None = None,
    replacement: str | None = None,
    max_output_tokens: int | None = None,
    call_settings: JsonObject | None = None,
    note: str | None = None,
) -> tuple[Model, ...]:
    """List models of which the same is known."""
    return tuple(
        Model(
            name=name,
            status=status,
            retires_on=retires_on,
            replacement=replacement,
            max_output_tokens=max_output_tokens,
            call_settings=call_settings or {},
            note=note,
        )
        for name in names
    )


def known_voices(*names: str) -> tuple[Voice, ...]:
    """List voices of which nothing but their names is known."""
    return tuple(Voice(name=name) for name in names)


def offered(offers: Sequence[Offer]) -> list[str]:
    """Return the names to suggest for a setting: all but those that no longer answer."""
    return [each.name for each in offers if each.status != "retired"]


@cache
def _pass_over(provider: str, settings: frozenset[str]) -> None:
    """Say once in a process which settings are not used."""
    names = ", ".join(sorted(settings))
    _log.warning("%s: this release does not know %s, and does without; upgrade this worker.", provider, names)


def unknown_field(at: str, name: str, valid: Sequence[str]) -> FieldError:
    """Say that a field does not exist: what would be valid, never the name that was sent."""
    if not valid:
        return FieldError(at, "unknown_field", "There are no fields here.")
    near = difflib.get_close_matches(name, valid, n=1)
    meant = f" Did you mean {near[0]}?" if near else ""
    return FieldError(at, "unknown_field", f"There is no such field.{meant} Valid: {', '.join(valid)}.")


def pointed(error: ValidationError, at: str = "", schemas: JsonObject | None = None) -> list[FieldError]:
    """Turn Pydantic's findings into pointers, codes and sentences; what was sent is in none of them.

    With the fields' JSON Schemas by name, a form is told by an example or in words, and not as an expression.
    """
    found = error.errors(include_url=False, include_context=False, include_input=False)
    return [_worded(item["type"], item["loc"], item["msg"], at, schemas or {}) for item in found]


def _worded(code: str, loc: tuple[str | int, ...], message: str, at: str, schemas: JsonObject) -> FieldError:
    if code == "string_pattern_mismatch" and loc and loc[0] in schemas:
        return FieldError(_pointer(at, loc), code, _in_form(schemas[str(loc[0])], is_whole=len(loc) == 1))
    if code == "extra_forbidden":
        # The last part of this location is a name that the caller made up.
        return FieldError(_pointer(at, loc[:-1]), "unknown_field", "There is a field here that does not exist.")
    if message == "Field required":
        return FieldError(_pointer(at, loc), code, "This field is required.")
    return FieldError(_pointer(at, loc), code, message if message.endswith((".", "?")) else f"{message}.")


def _in_form(schema: JsonObject, *, is_whole: bool) -> str:
    """Say what form a text must have, or one inside of a setting that is no text."""
    example = next((each for each in [*schema.get("examples", ()), schema.get("default")] if isinstance(each, str)), "")
    if is_whole and example:
        return f"Write it in the form of this example: {example}"
    return f"Write it in the form that the setting asks for: {schema['description']}"


def _pointer(at: str, loc: tuple[str | int, ...]) -> str:
    return at + "".join(f"/{escaped(part)}" for part in loc)


def escaped(part: str | int) -> str:
    """Write a name as a part of a JSON Pointer (RFC 6901, 3)."""
    return str(part).replace("~", "~0").replace("/", "~1")


def _schema(model: type[BaseModel]) -> JsonObject:
    schema = model.model_json_schema(by_alias=True)
    schema.pop("description", None)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
