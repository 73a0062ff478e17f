"""params.yaml of a demo whose teacher a vLLM server serves, from that of the repository: served_params.py PART PORT.

PART is `making`, to train the student and the teacher, or `asking`, to distil from the server.
"""

import sys

from ruamel.yaml import YAML

ARM = "omniopd-fork"
ABLATION = "fork-m4c4"
HEADS = 3  # vLLM's kernels for the CPU know no heads of 24 dimensions; the teacher's 96 are also three of 32


def main() -> None:
    part, port = sys.argv[1:]
    yaml = YAML()
    params = yaml.load(sys.stdin)
    params["seeds"] = params["ablation_seeds"] = [0]
    params["comparison"]["against"] = None
    params["arms"] = {ARM: params["arms"][ARM]}  # opd cannot ask: it reads the teacher's distributions
    params["ablations"] = {ABLATION: params["ablations"][ABLATION]}
    if part == "making":
        params["models"] = {"demo": {"teacher": {"num_heads": HEADS}}}
    else:
        params["models"] = {"student": "student"}
        params["teacher"] |= {
            "kind": "api",
            "model": "hosted_vllm/demo",
            "base_url": f"http://127.0.0.1:{port}/v1",
        }
    yaml.dump(params, sys.stdout)


main()
