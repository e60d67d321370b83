"""Makes the tiny models that a real Ollama runs in tests: `models.py FOLDER`. The same bytes each time.

alphabet.gguf   A llama whose every token has one successor. After any text it says "a" to "z" and ends (26 letters,
                stop). After "#" or "$" it says "$#$#..." without end: for long streams and clients that leave (raw
                prompts only: a chat's last token belongs to the template). A few thousand tokens a second on one core.
tinybert.gguf   An embedding model of 64 dimensions: random weights, different vectors for different texts.
"""

import sys
from pathlib import Path

import gguf
import numpy as np

PRINTABLE = [chr(code) for code in range(33, 127)]
WORD_START = "\u2581"  # how both tokenizers write the blank before a word


def zeros(*shape):
    return np.zeros(shape, np.float32)


def ones(*shape):
    return np.ones(shape, np.float32)


def open_model(path, architecture, *, context, width, layers, feed_forward, heads):
    """A writer with the keys that every architecture must have."""
    model = gguf.GGUFWriter(path, architecture)
    model.add_name(path.stem)
    model.add_file_type(gguf.LlamaFileType.ALL_F32)
    model.add_context_length(context)
    model.add_embedding_length(width)
    model.add_block_count(layers)
    model.add_feed_forward_length(feed_forward)
    model.add_head_count(heads)
    return model


def add_tokens(model, tokens, *, bos, eos, unk):
    """The vocabulary, from (text, type, score)."""
    texts, types, scores = zip(*tokens, strict=True)
    model.add_vocab_size(len(tokens))
    model.add_token_list(texts)
    model.add_token_types(types)
    model.add_token_scores(scores)
    model.add_bos_token_id(bos)
    model.add_eos_token_id(eos)
    model.add_unk_token_id(unk)


def close_model(model):
    model.write_header_to_file()
    model.write_kv_data_to_file()
    model.write_tensors_to_file()
    model.close()


def alphabet(path):
    """The layers add nothing (zeros), so what follows a token depends on that token alone: its embedding is a one at its
    own number, and the output matrix turns that into the number of its successor."""
    width, layers, heads, kv_heads, feed_forward = 384, 1, 6, 2, 64
    model = open_model(
        path, "llama", context=4096, width=width, layers=layers, feed_forward=feed_forward, heads=heads
    )
    head_width = width // heads
    model.add_head_count_kv(kv_heads)
    model.add_layer_norm_rms_eps(1e-5)
    model.add_rope_dimension_count(head_width)
    model.add_rope_freq_base(10000.0)

    unk, bos, eos = 0, 1, 2
    kind = gguf.TokenType
    tokens = [("<unk>", kind.UNKNOWN, 0.0), ("<s>", kind.CONTROL, 0.0), ("</s>", kind.CONTROL, 0.0)]
    tokens += [(f"<0x{byte:02X}>", kind.BYTE, 0.0) for byte in range(256)]  # the tokenizer demands all of them
    for text in [WORD_START, *PRINTABLE]:
        tokens.append((text, kind.NORMAL, -float(len(tokens))))
    number = {text: index for index, (text, _, _) in enumerate(tokens)}
    model.add_tokenizer_model("llama")
    model.add_tokenizer_pre("default")
    model.add_add_bos_token(True)
    model.add_add_space_prefix(False)
    add_tokens(model, tokens, bos=bos, eos=eos, unk=unk)
    model.add_chat_template(
        "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}\n{% endfor %}"
        "{% if add_generation_prompt %}<assistant>{% endif %}"
    )

    successor = np.full(len(tokens), number["a"])
    for letter, following in zip("abcdefghijklmnopqrstuvwxy", "bcdefghijklmnopqrstuvwxyz", strict=True):
        successor[number[letter]] = number[following]
    successor[number["z"]] = eos
    successor[number["#"]], successor[number["$"]] = number["$"], number["#"]

    each = np.arange(len(tokens))
    embedding, output = zeros(len(tokens), width), zeros(len(tokens), width)
    embedding[each, each] = 1.0
    output[successor, each] = 2.0
    model.add_tensor("token_embd.weight", embedding)
    model.add_tensor("output_norm.weight", ones(width))
    model.add_tensor("output.weight", output)
    for layer in range(layers):
        block = f"blk.{layer}."
        model.add_tensor(block + "attn_norm.weight", ones(width))
        model.add_tensor(block + "attn_q.weight", zeros(width, width))
        model.add_tensor(block + "attn_k.weight", zeros(head_width * kv_heads, width))
        model.add_tensor(block + "attn_v.weight", zeros(head_width * kv_heads, width))
        model.add_tensor(block + "attn_output.weight", zeros(width, width))
        model.add_tensor(block + "ffn_norm.weight", ones(width))
        model.add_tensor(block + "ffn_gate.weight", zeros(feed_forward, width))
        model.add_tensor(block + "ffn_up.weight", zeros(feed_forward, width))
        model.add_tensor(block + "ffn_down.weight", zeros(width, feed_forward))
    close_model(model)


def tinybert(path):
    context, width, layers, feed_forward = 512, 64, 2, 128
    model = open_model(
        path, "bert", context=context, width=width, layers=layers, feed_forward=feed_forward, heads=4
    )
    model.add_layer_norm_eps(1e-12)
    model.add_causal_attention(False)
    model.add_pooling_type(gguf.PoolingType.MEAN)  # makes Ollama call it an embedding model

    kind = gguf.TokenType
    tokens = [("[PAD]", kind.CONTROL, 0.0), ("[UNK]", kind.UNKNOWN, 0.0)]
    tokens += [(text, kind.CONTROL, 0.0) for text in ("[CLS]", "[SEP]", "[MASK]")]
    for text in PRINTABLE:
        if text.isupper():
            continue  # the tokenizer makes small letters of them
        tokens.append((WORD_START + text, kind.NORMAL, 0.0))
        if text.isalnum():
            tokens.append((text, kind.NORMAL, 0.0))  # within a word
    model.add_tokenizer_model("bert")
    model.add_tokenizer_pre("default")
    model.add_token_type_count(2)
    model.add_pad_token_id(0)
    model.add_sep_token_id(3)
    model.add_mask_token_id(4)
    add_tokens(model, tokens, bos=2, eos=3, unk=1)

    random = np.random.default_rng(seed=1)

    def weights(*shape):
        return (random.standard_normal(shape) * 0.1).astype(np.float32)

    model.add_tensor("token_embd.weight", weights(len(tokens), width))
    model.add_tensor("token_types.weight", weights(2, width))
    model.add_tensor("position_embd.weight", weights(context, width))
    model.add_tensor("token_embd_norm.weight", ones(width))
    model.add_tensor("token_embd_norm.bias", zeros(width))
    for layer in range(layers):
        block = f"blk.{layer}."
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            model.add_tensor(f"{block}{name}.weight", weights(width, width))
            model.add_tensor(f"{block}{name}.bias", zeros(width))
        model.add_tensor(block + "ffn_up.weight", weights(feed_forward, width))
        model.add_tensor(block + "ffn_up.bias", zeros(feed_forward))
        model.add_tensor(block + "ffn_down.weight", weights(width, feed_forward))
        model.add_tensor(block + "ffn_down.bias", zeros(width))
        for name in ("attn_output_norm", "layer_output_norm"):
            model.add_tensor(f"{block}{name}.weight", ones(width))
            model.add_tensor(f"{block}{name}.bias", zeros(width))
    close_model(model)


folder = Path(sys.argv[1])
alphabet(folder / "alphabet.gguf")
tinybert(folder / "tinybert.gguf")
