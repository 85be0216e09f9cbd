"""Addresses as an inventory gives them: IPv4 or IPv6, one or two where a host or the VIP has them."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Annotated, Any, TypeVar

from pydantic import BeforeValidator, Field, PlainSerializer, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

T = TypeVar("T")
_OF_ADDRESS = [{"type": "string", "format": "ipv4"}, {"type": "string", "format": "ipv6"}]


def _text(read: Callable[[str], T]) -> Callable[[Any], T]:
    """Return a validator that takes text alone: to `ipaddress` a number is an address too."""
    def validate(value: Any) -> T:
        if not isinstance(value, str):
            raise PydanticCustomError("string_type", "must be text")
        return read(value)
    return validate


def _listed(value: Any) -> Any:
    return tuple(value) if isinstance(value, list | tuple) else (value,)


def _short(addresses: tuple[IPv4Address | IPv6Address, ...]) -> str | list[str]:
    """Return one address as itself, so that both ways to write it are one when they are compared."""
    return str(addresses[0]) if len(addresses) == 1 else [str(a) for a in addresses]


def is_loopback(text: str) -> bool:
    """Say whether text is an address that leads nowhere but to the machine itself."""
    try:
        return ip_address(text).is_loopback
    except ValueError:
        return False


IPAddress = Annotated[IPv4Address | IPv6Address, PlainValidator(_text(ip_address)),
                      WithJsonSchema({"anyOf": _OF_ADDRESS})]
IPNetwork = Annotated[IPv4Network | IPv6Network, PlainValidator(_text(ip_network)), WithJsonSchema({"anyOf": [
    {"type": "string", "format": "ipv4network"}, {"type": "string", "format": "ipv6network"}]})]
Addresses = Annotated[
    tuple[IPAddress, ...], Field(min_length=1, max_length=2), BeforeValidator(_listed), PlainSerializer(_short),
    WithJsonSchema({"anyOf": [*_OF_ADDRESS, {"type": "array", "items": {"anyOf": _OF_ADDRESS}, "minItems": 1,
                                             "maxItems": 2}]})]
