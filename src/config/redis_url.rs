//! Redis URLs: which are allowed, what a Sentinel URL says, and how one is shown without its
//! password.

use redis::{ConnectionAddr, IntoConnectionInfo as _};

/// The forms of a Redis URL, for messages.
const FORMS: &str = "redis://[user:password@]host[:port][/db], rediss://…, \
                     unix:///path[?db=N], redis+unix://… or \
                     redis+sentinel://[user:password@]host:port[,host:port…]/master-name[/db]";

/// The port of a Sentinel where the URL has none.
const SENTINEL_PORT: u16 = 26379;

/// What a `redis+sentinel://` URL says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentinelUrl {
    /// The Sentinels, in the order of the URL.
    pub sentinels: Vec<ConnectionAddr>,
    /// The name of the master that they watch.
    pub master_name: String,
    /// User and password for the master (not for the Sentinels).
    pub username: Option<String>,
    /// See `username`.
    pub password: Option<String>,
    /// The database.
    pub db: i64,
}

impl SentinelUrl {
    /// Reads the URL; none where it is not of this scheme.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn parse(url: &str) -> Option<Result<Self, String>> {
        url.strip_prefix("redis+sentinel://").map(Self::parse_rest)
    }

    fn parse_rest(rest: &str) -> Result<Self, String> {
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (credentials, hosts) = match authority.rsplit_once('@') {
            Some((credentials, hosts)) => (Some(credentials), hosts),
            None => (None, authority),
        };
        let (master_name, db) = path.split_once('/').unwrap_or((path, "0"));
        if master_name.is_empty() {
            return Err("has to name the master: redis+sentinel://host:port/master-name".into());
        }
        let sentinels = hosts.split(',').map(sentinel).collect::<Result<Vec<_>, _>>()?;
        // The master is written as a plain URL, so that one parser reads all the rest.
        let userinfo = credentials.map(|text| format!("{text}@")).unwrap_or_default();
        let master = connection_info(&format!("redis://{userinfo}master/{db}"))?;
        let settings = master.redis_settings();
        Ok(Self {
            sentinels,
            master_name: master_name.to_owned(),
            username: settings.username().map(str::to_owned),
            password: settings.password().map(str::to_owned),
            db: settings.db(),
        })
    }
}

/// A Sentinel's `host[:port]`.
fn sentinel(host: &str) -> Result<ConnectionAddr, String> {
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']'));
    let url = if has_port {
        format!("redis://{host}")
    } else {
        format!("redis://{host}:{SENTINEL_PORT}")
    };
    connection_info(&url).map(|info| info.addr().clone())
}

/// Whether Taskcast can connect to such a URL; the error says what is allowed.
pub(super) fn check(url: &str) -> Result<(), String> {
    let scheme = url.split_once("://").map_or("", |(scheme, _)| scheme);
    match scheme {
        "redis" | "rediss" | "unix" | "redis+unix" => connection_info(url).map(drop),
        "redis+sentinel" => SentinelUrl::parse(url).map_or(Ok(()), |parsed| parsed.map(drop)),
        _ => Err(format!("must be a Redis URL: {FORMS}")),
    }
}

fn connection_info(url: &str) -> Result<redis::ConnectionInfo, String> {
    url.into_connection_info().map_err(|error| {
        let detail = error.detail().unwrap_or("it does not parse");
        format!("must be a Redis URL ({detail}): {FORMS}")
    })
}

/// The URL with `***` for its password.
///
/// Hides too much rather than too little: the text may be no valid URL.
pub fn masked(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return if url.contains('@') { "***".to_owned() } else { url.to_owned() };
    };
    let rest = match rest.rsplit_once('@') {
        Some((userinfo, host)) => match userinfo.split_once(':') {
            Some((user, _)) => format!("{user}:***@{host}"),
            None => rest.to_owned(),
        },
        None => rest.to_owned(),
    };
    // A unix URL has its password in the query.
    let rest = match rest.split_once("pass=") {
        Some((head, tail)) => {
            let after = tail.find('&').map_or("", |end| &tail[end..]);
            format!("{head}pass=***{after}")
        }
        None => rest,
    };
    format!("{scheme}://{rest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_documented_form_is_allowed() {
        for url in [
            "redis://127.0.0.1:6379/0",
            "redis://localhost",
            "redis://:secret@localhost/3",
            "rediss://user:secret@redis.example:6380",
            "unix:///run/redis.sock?db=2",
            "redis+unix:///run/redis.sock",
            "redis+sentinel://a:26379,b:26379/main",
            "redis+sentinel://user:secret@a,[::1]:26380/main/2",
        ] {
            assert_eq!(check(url), Ok(()), "{url}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for url in [
            "",
            "localhost:6379",
            "http://localhost",
            "redis://",
            "redis://host:port",
            "redis://host/db",
            "redis+sentinel://a:26379",
            "redis+sentinel:///main",
            "redis+sentinel://a:x/main",
            "redis+sentinel://a/main/x",
        ] {
            assert!(check(url).is_err(), "{url}");
        }
    }

    #[test]
    fn a_sentinel_url_is_taken_apart() {
        let url = "redis+sentinel://app:p%40ss@a,b:1,[::1]/main/2";
        assert_eq!(
            SentinelUrl::parse(url),
            Some(Ok(SentinelUrl {
                sentinels: vec![
                    ConnectionAddr::Tcp("a".to_owned(), 26379),
                    ConnectionAddr::Tcp("b".to_owned(), 1),
                    ConnectionAddr::Tcp("::1".to_owned(), 26379),
                ],
                master_name: "main".to_owned(),
                username: Some("app".to_owned()),
                password: Some("p@ss".to_owned()),
                db: 2,
            }))
        );
        assert_eq!(SentinelUrl::parse("redis://a"), None);
    }

    #[test]
    fn a_password_is_never_shown() {
        for (url, shown) in [
            ("redis://u:secret@h:1/0", "redis://u:***@h:1/0"),
            ("redis://:secret@h", "redis://:***@h"),
            ("redis://:sec/r@et@h", "redis://:***@h"),
            ("unix:///s?user=u&pass=secret&db=1", "unix:///s?user=u&pass=***&db=1"),
            ("u:secret@h", "***"),
            ("redis://h:1/0", "redis://h:1/0"),
        ] {
            assert_eq!(masked(url), shown);
        }
    }
}
