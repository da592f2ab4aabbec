"""URIs with an Airflow connection → plain URIs, and the environment variables with which the worker opens them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

from airflow.sdk import ObjectStoragePath
from airflow.sdk.exceptions import AirflowFailException, AirflowNotFoundException

from emotion_ops.airflow.values import as_json, as_list, path_text

_S3 = ("s3", "s3a", "s3n")
_NO_USERS = ("gs", "gcs")
"""Stores without users, where a name before an ``@`` can only be a connection."""

_OTHER_CREDENTIALS = (
    "AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)  # fmt: skip
"""Other variables that give a worker credentials."""


def mask_uri(uri: str) -> None:
    """Hide the password in a URI from the log."""
    from airflow.sdk.log import mask_secret

    password = urlsplit(uri).password if "://" in uri else None
    if password:
        mask_secret(password)


def mask_uris(value: Any) -> None:
    """Hide the passwords in all URIs of an option."""
    if isinstance(value, Mapping):
        value = list(value.values())
    several = as_list(value)
    if several is None:
        mask_uri(str(value))
    else:
        for one in several:
            mask_uris(one)


def without_connection(uri: str) -> tuple[str, str | None]:
    """A URI, and the connection that it names as ``ObjectStoragePath`` does: ``s3://connection@bucket/key``.

    A user name with a password is not a connection, and stays. So does the part before an ``@`` of other stores:
    ``abfss://container@account``, ``sftp://user@host``.
    """
    if "://" not in uri or uri.partition("://")[0].lower() not in (*_S3, *_NO_USERS):
        return uri, None
    scheme, _, rest = uri.partition("://")
    authority, slash, path = rest.partition("/")
    user, at, host = authority.rpartition("@")
    if not at or user in ("", "anonymous") or ":" in user:
        return uri, None
    return f"{scheme}://{host}{slash}{path}", user


def connection_environment(connections: Iterable[tuple[str, str]]) -> dict[str, str | None]:
    """The variables by which Arrow, s3fs and boto find the credentials of a connection.

    None means that a variable is removed: the worker's own session token does not fit the connection's key.

    Args:
        connections: Pairs of a URI's scheme and the connection that it names.

    Raises:
        AirflowFailException: There is no such connection, or one is for another store than S3, or there are two.
    """
    named = sorted(set(connections))
    for scheme, connection in named:
        if scheme.lower() not in _S3:
            hint = "give the URI without it, and put the credentials of that store into the environment of the worker"
            raise AirflowFailException(f"{scheme}://{connection}@…: connections can be used for s3:// only: {hint}")
    names = {connection for _, connection in named}
    if len(names) > 1:
        hint = "give all of them one connection that may read the sources and write the destination"
        raise AirflowFailException(f"the connections {', '.join(sorted(names))} are all for S3: {hint}")
    return _aws(names.pop()) if names else {}


def _aws(name: str) -> dict[str, str | None]:
    from airflow.sdk import BaseHook
    from airflow.sdk.log import mask_secret

    try:
        connection = BaseHook.get_connection(name)
    except AirflowNotFoundException as error:
        hint = f"add it: airflow connections add {name} --conn-type aws …"
        raise AirflowFailException(f"there is no connection {name!r}: {hint}") from error
    extra: dict[str, Any] = connection.extra_dejson
    endpoint = extra.get("endpoint_url") or (extra.get("service_config") or {}).get("s3", {}).get("endpoint_url")
    region = extra.get("region_name")
    key, secret, token = connection.login, connection.password, extra.get("aws_session_token")
    if not key and extra.get("aws_access_key_id"):
        key, secret = extra["aws_access_key_id"], extra.get("aws_secret_access_key")
    if extra.get("role_arn") or extra.get("profile_name"):
        key, secret, token, region = _assumed(name)
    found = {
        "AWS_ACCESS_KEY_ID": key,
        "AWS_SECRET_ACCESS_KEY": secret,
        "AWS_SESSION_TOKEN": token,
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_DEFAULT_REGION": region,
        "AWS_REGION": region,
    }
    for value in (secret, token):
        if value:
            mask_secret(value)
    away = ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"]
    if key:  # else the worker's own are meant
        away += ["AWS_SESSION_TOKEN", *_OTHER_CREDENTIALS]
    given = {variable: str(value) for variable, value in found.items() if value}
    return {**dict.fromkeys(away), **given}


def _assumed(name: str) -> tuple[str, str, str | None, str | None]:
    """The credentials of a role or a profile, by Airflow's own hook; they end after the time that the role says."""
    try:
        from airflow.providers.amazon.aws.hooks.base_aws import AwsGenericHook
    except ImportError as error:
        hint = "pip install apache-airflow-providers-amazon"
        raise AirflowFailException(f"connection {name!r} names a role or a profile, which needs it: {hint}") from error
    hook: Any = AwsGenericHook(aws_conn_id=name, client_type="s3")
    found = hook.get_credentials()
    return found.access_key, found.secret_key, found.token, hook.region_name


def local_path(option: str, value: Any) -> str | None:
    """A path that the worker opens on its own disk; from a ``file:`` URI or an ``ObjectStoragePath`` too.

    Raises:
        AirflowFailException: It is not on a disk.
    """
    if value in (None, "None", ""):
        return None
    text = path_text(value) if isinstance(value, ObjectStoragePath) else str(value)
    scheme, is_uri, _ = text.partition("://")
    if not is_uri:
        return text
    parts = urlsplit(text)
    if scheme.lower() != "file" or parts.netloc not in ("", "localhost"):
        hint = "copy the file to a disk that the worker sees, and give its path there"
        raise AirflowFailException(f"{option}={text!r} cannot be used: {hint}")
    return unquote(parts.path)


def resolve_connections(values: Mapping[str, Any], conn_id: str | None) -> tuple[dict[str, Any], dict[str, str | None]]:
    """Values of JSON types in which no URI names a connection, and the environment variables of the connections.

    Args:
        values: Texts, paths, and lists and dictionaries of these.
        conn_id: A connection for URIs that name none, and for the images in tables.

    Raises:
        AirflowFailException: A connection is not known, or cannot be used for a store.
    """
    connections: list[tuple[str, str]] = [] if conn_id is None else [("s3", conn_id)]

    def resolve(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: resolve(one) for name, one in value.items()}
        if isinstance(value, list):
            return [resolve(one) for one in value]
        if not isinstance(value, str):
            return value
        uri, connection = without_connection(value)
        if connection is not None:
            connections.append((uri.partition("://")[0], connection))
        return uri

    plain: dict[str, Any] = resolve(as_json(values))
    return plain, connection_environment(connections)
