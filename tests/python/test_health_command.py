"""`taskcast health`, as a container's check runs it."""

import subprocess

from processes import binary, environment, eventually, free_port


def health(*args, **variables):
    """(exit code, what it said)"""
    argv = [binary(), "health", *args]
    ended = subprocess.run(argv, env={**environment(), **variables}, capture_output=True, text=True, timeout=30)
    return ended.returncode, ended.stdout + ended.stderr


def test_a_server_lives_and_is_ready(server, tmp_path):
    listen = f"127.0.0.1:{server.port}"
    assert health("--listen", listen) == (0, '{"status":"ok"}\n')
    assert health("--listen", listen, "--ready") == (0, '{"status":"ready"}\n')
    # As the server itself finds its address.
    assert health(TASKCAST_LISTEN=f"0.0.0.0:{server.port}")[0] == 0
    path = tmp_path / "taskcast.toml"
    path.write_text(f'listen = "{listen}"')
    assert health("--config", str(path))[0] == 0


def test_a_server_without_redis_lives_and_is_not_ready(start_redis, start_server):
    redis_server = start_redis()
    server = start_server(redis_server)
    redis_server.stop()
    listen = f"127.0.0.1:{server.port}"
    eventually(lambda: health("--listen", listen, "--ready")[0] == 1)
    code, said = health("--listen", listen, "--ready")
    assert code == 1 and said.startswith("taskcast: ") and "detail" in said
    assert health("--listen", listen)[0] == 0


def test_where_nobody_listens_nobody_lives():
    code, said = health("--listen", f"127.0.0.1:{free_port()}")
    assert code == 1 and "/healthz" in said and "refused" in said
    assert health("--listen", "nowhere")[0] == 2
