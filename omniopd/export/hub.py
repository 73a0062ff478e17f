"""Pushes an exported folder to the Hugging Face hub; the token is used, and never written."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import httpx
from huggingface_hub import HfApi, get_token
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled
from huggingface_hub.utils import validate_repo_id

from omniopd import __version__
from omniopd.errors import ConfigError, HubError, one_line
from omniopd.export.folders import DATA_SUFFIX, RECEIPT
from omniopd.redaction import protect, redacted

Kind = Literal["model", "dataset"]
_REFUSED = {
    401: "does not accept the token; make one that may write at {endpoint}/settings/tokens, and set HF_TOKEN",
    403: "does not let the token write there; check the owner in {repo}, and what the token may do",
}


def check_name(repo: str) -> None:
    """Raise where a name cannot be pushed to.

    Raises:
        ConfigError: it is not owner/name, or the hub takes no such name.
    """
    try:
        validate_repo_id(f"{repo}{DATA_SUFFIX}")
        if repo.count("/") != 1:
            raise HFValidationError("it has no owner")
    except HFValidationError as error:
        raise ConfigError(
            f"--push {repo}: is not a name on the hub ({one_line(error)}); write owner/name, such as "
            "my-name/my-model"
        ) from error


def push(folder: Path, repo: str, *, kind: Kind = "model", private: bool = False) -> str:
    """Upload a folder into a repository, which is made if it does not exist; returns its address.

    Files that are already there stay, unless they have the same name. The token is that of HF_TOKEN or of
    `hf auth login`.

    Raises:
        HubError: there is no token, the hub does not answer or refuses, or the repository is public and must not be.
    """
    again = f"{folder} is kept: run the same command again"
    token = get_token()
    if token is None:
        raise HubError(f"{repo}: no token for the hub; set HF_TOKEN or run `hf auth login`; {again}")
    protect(token)
    api = HfApi(token=token, library_name="omniopd", library_version=__version__)
    with _hub_errors(repo, api.endpoint, again):
        url = str(api.create_repo(repo, repo_type=kind, private=private or None, exist_ok=True))
        if private and not api.repo_info(repo, repo_type=kind).private:
            raise HubError(
                f"{repo}: exists and is public; make it private on the hub, or leave --private out; {again}"
            )
        api.upload_folder(
            repo_id=repo, folder_path=folder, repo_type=kind, ignore_patterns=[RECEIPT],
            commit_message=f"Exported by omniopd {__version__}",
        )  # fmt: skip
    return url


@contextmanager
def _hub_errors(repo: str, endpoint: str, again: str) -> Iterator[None]:
    """Turn any error of the block into a HubError of one sentence, without the token."""
    try:
        yield
    except HubError:
        raise
    except OfflineModeIsEnabled as error:
        raise HubError(f"{repo}: HF_HUB_OFFLINE is set; unset it; {again}") from error
    except Exception as error:  # of httpx, and of hf_xet, whose errors have no documented type
        reason = _reason(error, repo, endpoint)
        raise HubError(redacted(f"{repo}: {endpoint} {reason}; {again}")) from None


def _reason(error: BaseException, repo: str, endpoint: str) -> str:
    """Why the hub failed, to end a sentence; that of the error's cause where that is one of HTTP."""
    chain: list[BaseException] = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None:
        chain.append(cause)
    refused = next((each for each in chain if isinstance(each, HfHubHTTPError)), None)
    if refused is None:
        if any(isinstance(each, httpx.TransportError) for each in chain):
            return f"cannot be reached ({one_line(error)}); check the network, and HF_ENDPOINT"
        return f"does not take the folder ({one_line(error.__cause__ or error)})"
    status = refused.response.status_code
    if status in _REFUSED:
        return _REFUSED[status].format(repo=repo, endpoint=endpoint)
    return f"answers {status} ({refused.server_message or one_line(refused)})"
