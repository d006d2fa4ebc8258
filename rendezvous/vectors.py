# Writes vectors.txt: the keys, the nodes, and the node that is picked.
#
#     python3 vectors.py > vectors.txt
from hashlib import sha256

NODES = [
    ["a"],
    ["a", "b", "c"],
    ["wss://gw-1.example", "wss://gw-2.example", "wss://gw-3.example"],
    ["wss://gw-1.example", "wss://gw-3.example"],
    ["gw-%d" % n for n in range(10)],
    ["zürich", "köln", ""],
]
KEYS = ["", "ada", "user-4711", "user-4712", "0", "grüezi 🙂", "x" * 300, "a b\tc"]

print("# key, picked node, nodes; separated by |, nodes by commas")
for nodes in NODES:
    for key in KEYS:
        pick = max(nodes, key=lambda node: sha256(node.encode() + b"\0" + key.encode()).digest())
        print("|".join([key, pick, ",".join(nodes)]))
