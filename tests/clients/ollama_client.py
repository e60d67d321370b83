"""What a user of ollama-python does; the only thing of Aivonx in it is the address. Prints one JSON object."""

import json
import sys

import ollama

client = ollama.Client(host=sys.argv[1])
hello = [{"role": "user", "content": "hi"}]

seen = {
    "models": sorted(model.model for model in client.list().models),
    "chat": client.chat(model="alphabet", messages=hello).message.content,
    "stream": [part.message.content for part in client.chat(model="alphabet", messages=hello, stream=True)],
    "generate": client.generate(model="alphabet", prompt="hi").response,
    "embeddings": [len(vector) for vector in client.embed(model="tinybert", input=["one", "two"]).embeddings],
    "show": client.show("alphabet").details.family,
    "loaded": sorted(model.model for model in client.ps().models),
}
try:
    client.chat(model="nobody-has-this", messages=hello)
except ollama.ResponseError as error:
    seen["unknown"] = [error.status_code, error.error]
print(json.dumps(seen))
