"""What a user of openai-python does; the only thing of Aivonx in it is the address. Prints one JSON object."""

import json
import sys

import openai

client = openai.OpenAI(base_url=f"{sys.argv[1]}/v1", api_key="not needed", max_retries=0)
hello = [{"role": "user", "content": "hi"}]

stream = client.chat.completions.create(model="alphabet", messages=hello, stream=True)
seen = {
    "models": sorted(model.id for model in client.models.list().data),
    "chat": client.chat.completions.create(model="alphabet", messages=hello).choices[0].message.content,
    "stream": [chunk.choices[0].delta.content or "" for chunk in stream],
    "completion": client.completions.create(model="alphabet", prompt="hi").choices[0].text,
    "embeddings": [len(item.embedding) for item in client.embeddings.create(model="tinybert", input="one").data],
}
try:
    client.chat.completions.create(model="nobody-has-this", messages=hello)
except openai.NotFoundError as error:
    seen["unknown"] = [error.status_code, error.body["message"]]
print(json.dumps(seen))
