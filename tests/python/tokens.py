"""Tokens that another library makes, and configurations that know who makes them."""

import base64
import hashlib
import json
import time

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

SECRET = "a secret that only the login and the server know"
API_KEY = "the key of the workers"


def sha256(key):
    return hashlib.sha256(key.encode()).hexdigest()


CONFIG = f"""
[access]
anonymous = ["watch:public-*"]

[[access.jwt]]
secret = "{SECRET}"

[[access.key]]
name = "workers"
sha256 = "{sha256(API_KEY)}"
grants = ["publish:*", "watch:*", "list", "metrics"]
"""


def token(grants=None, seconds=3600, key=SECRET, algorithm="HS256", headers=None, **claims):
    """A token of a login. A claim of None is left out."""
    claims = {"exp": int(time.time()) + seconds, "taskcast": grants, **claims}
    claims = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(claims, key, algorithm=algorithm, headers=headers)


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


def b64(data):
    return base64.urlsafe_b64encode(data if isinstance(data, bytes) else data.encode()).rstrip(b"=").decode()


def by_hand(header, claims, sign=lambda message: b""):
    """A token that no library would make."""
    parts = [b64(part if isinstance(part, str) else json.dumps(part)) for part in (header, claims)]
    message = ".".join(parts)
    return f"{message}.{b64(sign(message.encode()))}"


class KeyPair:
    """A private key, and what of it is public."""

    def __init__(self, algorithm):
        self.algorithm = algorithm
        if algorithm.startswith("ES"):
            self.private = ec.generate_private_key(ec.SECP256R1() if algorithm == "ES256" else ec.SECP384R1())
        elif algorithm == "EdDSA":
            self.private = ed25519.Ed25519PrivateKey.generate()
        else:
            self.private = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    @property
    def pem(self):
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        return self.private.public_key().public_bytes(serialization.Encoding.PEM, form).decode()

    def jwk(self, **members):
        made = jwt.get_algorithm_by_name(self.algorithm).to_jwk(self.private.public_key(), as_dict=True)
        made.pop("key_ops", None)
        return {**made, **members}

    def token(self, grants=None, kid=None, **options):
        headers = {"kid": kid} if kid else None
        return token(grants, key=self.private, algorithm=self.algorithm, headers=headers, **options)
