//! The harness over TLS: it is run against the small relay behind something that speaks TLS.

#![allow(clippy::expect_used, reason = "a test ends with the first thing that fails")]

mod relay;

use relay::{Fault, Redis, free_port, serve, start_relay};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::fs::{self, Permissions};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

/// Speaks TLS on `listener` for what listens at `port`, in a thread of its own.
fn speak_tls(listener: TcpListener, certificate: &Path, key: &Path, port: u16) {
    let chain = CertificateDer::pem_file_iter(certificate).and_then(Iterator::collect);
    let key = PrivateKeyDer::from_pem_file(key).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain.expect("a certificate"), key);
    let acceptor = TlsAcceptor::from(Arc::new(config.expect("a pair")));
    listener.set_nonblocking(true).expect("a socket");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    std::thread::spawn(move || {
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
            while let Ok((viewer, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let mut viewer = acceptor.accept(viewer).await?;
                    let mut behind = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
                    tokio::io::copy_bidirectional(&mut viewer, &mut behind).await
                });
            }
        });
    });
}

#[test]
#[ignore = "it is the server that another test starts"]
fn the_server_that_another_starts() {
    let from_script = |name| std::env::var(name).expect("the script says it");
    let address = from_script("LISTEN");
    let relay = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let (plain, secure) = match from_script("CERTIFICATE").as_str() {
        "" => (TcpListener::bind(&address).expect("a free port"), None),
        certificate => (relay, Some((PathBuf::from(certificate), from_script("KEY")))),
    };
    if let Some((certificate, key)) = secure {
        let port = plain.local_addr().expect("an address").port();
        let listener = TcpListener::bind(&address).expect("a free port");
        speak_tls(listener, &certificate, Path::new(&key), port);
    }
    serve(&plain, &from_script("REDIS"), Fault::None, Duration::ZERO);
}

fn harness(args: &[&str]) -> (Option<i32>, String) {
    let Output { status, stdout, stderr } = Command::new(env!("CARGO_BIN_EXE_loadtest"))
        .args(["hot", "--viewers", "3", "--rate", "40", "--seconds", "0.5"])
        .args(args)
        .output()
        .expect("the harness runs");
    let said = String::from_utf8_lossy(&stdout).into_owned() + &String::from_utf8_lossy(&stderr);
    (status.code(), said)
}

/// Runs against a relay behind TLS that runs already, with a floor beside it; `ca` vouches for it,
/// or nobody does.
fn run(name: &str, fault: Fault, is_vouched_for: bool) -> (Option<i32>, String) {
    let files = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(&files).expect("a directory");
    let make = || rcgen::generate_simple_self_signed(["127.0.0.1".into()]).expect("a certificate");
    let (made, other) = (make(), make());
    let [certificate, key, ca] = ["certificate", "key", "ca"].map(|name| files.join(name));
    fs::write(&certificate, made.cert.pem()).expect("written");
    fs::write(&key, made.signing_key.serialize_pem()).expect("written");
    let trusted = if is_vouched_for { made.cert.pem() } else { other.cert.pem() };
    fs::write(&ca, trusted).expect("written");

    let redis = Redis::start();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let url = format!("https://127.0.0.1:{}", listener.local_addr().expect("an address").port());
    speak_tls(listener, &certificate, &key, start_relay(&redis, fault));
    let ca = ca.to_str().expect("a path");
    harness(&["--url", &url, "--redis", &redis.url, "--ca", ca, "--floor", "--resume"])
}

#[test]
fn what_comes_over_tls_is_verified_and_so_is_what_a_floor_sends() {
    let (code, said) = run("faultless", Fault::None, true);
    assert_eq!(code, Some(0), "{said}");
    for side in ["server", "floor"] {
        let fine = format!("{side}: every update once and in order (60 deliveries expected)");
        assert!(said.contains(&fine), "{said}");
    }
}

#[test]
fn what_is_wrong_over_tls_is_found() {
    let (code, said) = run("repeats", Fault::Repeats, true);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("server: WRONG: 3 repeated"), "{said}");
}

#[test]
fn a_server_for_which_nobody_vouches_is_left_alone() {
    let (code, said) = run("stranger", Fault::None, false);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("TLS: invalid peer certificate"), "{said}");
}

#[test]
fn ways_to_a_server_take_turns() {
    let script = format!(
        "#!/bin/sh\nexport LISTEN=\"$3\" REDIS=\"$5\" CERTIFICATE=\"$9\" KEY=\"${{11}}\"\n\
         exec '{}' --exact the_server_that_another_starts --ignored --nocapture\n",
        std::env::current_exe().expect("this binary").display()
    );
    let server = Path::new(env!("CARGO_TARGET_TMPDIR")).join("serves-both-ways");
    fs::write(&server, script).expect("written");
    fs::set_permissions(&server, Permissions::from_mode(0o755)).expect("executable");
    let server = server.to_str().expect("a path");
    let (code, said) = harness(&["--over", "plain,tls", "--pairs", "1", "--server-bin", server]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("tls / plain  plain / plain"), "{said}");
    assert!(said.contains("CPU per delivery, us"), "{said}");
}

#[test]
fn what_cannot_be_reached_over_tls_is_explained() {
    let url = format!("https://127.0.0.1:{}", free_port());
    let redis = Redis::start();
    let (code, said) = harness(&["--url", &url, "--redis", &redis.url]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("an https --url needs --ca"), "{said}");
}
