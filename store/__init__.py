"""Where events are kept: a port in prose, a codec, and adapters chosen by name.

- `port`: the promise
- `codec`: one event as one checksummed frame
- `memory`: the reference adapter
- `lmdb`: the durable adapter
- `archive`: frames of finished intents, compressed by the block
- `contract`: checks that any adapter keeps the promise
"""
