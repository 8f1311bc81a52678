"""Asks a running page from a program: `python docs/client_example.py [ADDRESS]`.

Start the page first (`make demo`). The same endpoints answer plain HTTP:

    curl -X POST http://127.0.0.1:7860/gradio_api/call/generate \
      -H "Content-Type: application/json" \
      -d '{"data": ["Why is the sky blue?", "{\\"mode\\": \\"ngram\\"}"]}'
    curl -N http://127.0.0.1:7860/gradio_api/call/generate/EVENT_ID

Settings without a "target" mean the model that the page was started with (`--target`).
With `python app.py --mcp` they are MCP tools at /gradio_api/mcp/ as well.
"""

import json
import sys

from gradio_client import Client

OWN = "http://127.0.0.1:7860"


def main() -> None:
    address = sys.argv[1] if len(sys.argv) > 1 else OWN
    # Proxies that the environment names are for other machines.
    client = Client(address, verbose=False, httpx_kwargs={"trust_env": address != OWN})
    settings = json.dumps({"mode": "ngram", "max_new_tokens": 64})

    shown = 0
    job = client.submit("Why is the sky blue?", settings, api_name="/generate")
    for update in job:
        print(update["text"][shown:], end="", flush=True)
        shown = len(update["text"])
    answer = job.result()
    rate = answer["stats"]["acceptance_rate"]
    print(f"\n\n{answer['status']}: {answer['stats']['tokens_per_s']:.1f} tokens/s")
    if rate is not None:
        print(f"{rate:.0%} of {answer['stats']['num_tested']} tested draft tokens were accepted")

    compared = client.predict("Why is the sky blue?", [settings], 1, api_name="/compare")
    for row in compared["rows"]:
        print(f"{row['run']}: {row['tokens_per_s']:.1f} tokens/s")

    trace = client.predict(answer["run_id"], api_name="/export")
    print(f"the trace has {trace.count(chr(10))} lines")

    # The second best token at the first place, and how the answer goes on from it.
    events = [json.loads(line) for line in trace.splitlines()]
    verified = next(event for event in events if event["kind"] == "verified")
    other = verified["top_k_token_ids"][0][1]
    branch = client.predict(answer["run_id"], 0, [other], api_name="/fork")
    print(f"another beginning: {branch['text']}")


if __name__ == "__main__":
    main()
