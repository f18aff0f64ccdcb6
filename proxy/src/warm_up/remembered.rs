//! The hottest URLs of the last run, in a file: URLs and nothing else, none that may hold a secret.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use config::warm_up::HottestSettings;

/// The file, and what was read from it.
#[derive(Debug)]
pub(super) struct Remembered {
    settings: HottestSettings,
    /// Hottest first; what is not seen again moves behind what is.
    urls: Vec<String>,
}

impl Remembered {
    /// What the last run left behind; nothing where it left nothing, or nothing that can be read.
    ///
    /// # Errors
    /// When there is a file that cannot be read.
    pub(super) fn read(settings: &HottestSettings) -> (Self, io::Result<()>) {
        let mut remembered = Self {
            settings: settings.clone(),
            urls: Vec::new(),
        };
        let mut text = Vec::new();
        let read = File::open(&settings.file)
            .and_then(|file| file.take(LONGEST).read_to_end(&mut text).map(drop));
        let read = match read {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            read => read,
        };
        let text = String::from_utf8_lossy(&text);
        let lines = text.lines().map(str::trim);
        remembered.update(
            lines
                .filter(|line| !line.starts_with('#'))
                .map(str::to_owned),
        );
        (remembered, read)
    }

    /// Hottest first.
    pub(super) fn urls(&self) -> &[String] {
        &self.urls
    }

    /// Puts what this run has found so far in front of what is remembered.
    pub(super) fn update(&mut self, hottest: impl IntoIterator<Item = String>) {
        let mut known = HashSet::new();
        let before = std::mem::take(&mut self.urls);
        let all = hottest.into_iter().chain(before);
        let new = all.filter(|url| may_be_written(url) && known.insert(url.clone()));
        self.urls = new.take(self.settings.count).collect();
    }

    /// Writes the file anew: whole, or not at all.
    ///
    /// # Errors
    /// Those of the file system.
    pub(super) fn write(&self) -> io::Result<()> {
        let Self { settings, urls } = self;
        let new = beside(&settings.file);
        // Left behind by a run that was killed, perhaps; whatever it is, it is not written through.
        fs::remove_file(&new).ok();
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&new)?;
        let mut file = BufWriter::new(file);
        file.write_all(HEAD.as_bytes())?;
        for url in urls {
            writeln!(file, "{url}")?;
        }
        file.flush()?;
        fs::rename(&new, &settings.file)
    }
}

/// A name in the same folder, so that it can take the other's place.
fn beside(file: &Path) -> PathBuf {
    let mut name = file.file_name().unwrap_or_default().to_os_string();
    name.push(".new");
    file.with_file_name(name)
}

/// Whether `url` is one that nobody could use to be somebody.
fn may_be_written(url: &str) -> bool {
    let is_printable = url.bytes().all(|byte| byte.is_ascii_graphic());
    let is_url = url.starts_with("http://") || url.starts_with("https://");
    let query = url.split_once('?').map_or("", |(_, query)| query);
    let names = query.split(['&', ';']).map(|pair| pair.split('=').next());
    is_url
        && is_printable
        && url.len() <= LONGEST_URL
        && !names.flatten().any(is_named_like_a_secret)
}

/// Whether a parameter of this name may be what a link is allowed by.
fn is_named_like_a_secret(name: &str) -> bool {
    // Who escapes a letter of "token" has a reason.
    if name.contains('%') {
        return true;
    }
    let lower = name.to_ascii_lowercase();
    PARTS.iter().any(|part| lower.contains(part)) || words(name).any(|word| WORDS.contains(&&*word))
}

/// `apiKey`, `api_key` and `api-key` have the same two words.
fn words(name: &str) -> impl Iterator<Item = String> {
    let mut words = vec![String::new()];
    let mut was_lower = false;
    for char in name.chars() {
        let is_break = !char.is_ascii_alphanumeric() || (was_lower && char.is_ascii_uppercase());
        if is_break {
            words.push(String::new());
        }
        if char.is_ascii_alphanumeric()
            && let Some(word) = words.last_mut()
        {
            word.push(char.to_ascii_lowercase());
        }
        was_lower = char.is_ascii_lowercase() || char.is_ascii_digit();
    }
    words.into_iter().filter(|word| !word.is_empty())
}

const HEAD: &str = "# The URLs that Pillion answered from its cache most often, hottest first.\n\
    # Fetched by the next run ([warm_up] hottest); delete this file to forget them.\n";
/// In whatever word they are.
const PARTS: [&str; 12] = [
    "token",
    "secret",
    "passw",
    "passphrase",
    "credential",
    "signature",
    "session",
    "apikey",
    "authorization",
    "authkey",
    "privatekey",
    "accesskey",
];
/// As words of their own: "monkey" and "design" are no secrets.
const WORDS: [&str; 22] = [
    "key", "sig", "sign", "auth", "oauth", "pass", "pwd", "pw", "pin", "otp", "totp", "code",
    "sid", "jwt", "hmac", "mac", "nonce", "ticket", "state", "email", "invite", "cred",
];
/// Bytes of the file that are read.
const LONGEST: u64 = 64 << 20;
/// Bytes of a URL.
const LONGEST_URL: usize = 2048;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn secrets_by_their_names() {
        for name in [
            "token",
            "access_token",
            "csrfToken",
            "key",
            "api_key",
            "apiKey",
            "APIKEY",
            "sig",
            "Signature",
            "X-Amz-Signature",
            "X-Amz-Security-Token",
            "password",
            "passwd",
            "pwd",
            "auth",
            "code",
            "sid",
            "PHPSESSIONID",
            "jwt",
            "client_secret",
            "reset-code",
            "%74oken",
            "X-Goog-Credential",
            "h[key]",
            "hmac",
        ] {
            let url = format!("http://a.test/b?x=1&{name}=v");
            assert!(!may_be_written(&url), "{url}");
            assert!(
                !may_be_written(&format!("http://a.test/b?{name}")),
                "{name}"
            );
        }
        for name in [
            "page",
            "q",
            "monkey",
            "design",
            "sort",
            "keyboard",
            "id",
            "assigned",
            "utm_source",
        ] {
            let url = format!("http://a.test/b?x=1&{name}=v");
            assert!(may_be_written(&url), "{url}");
        }
        for url in [
            "/b",
            "ftp://a.test/",
            "http://a.test/ b",
            "http://a.test/\u{1b}[2J",
        ] {
            assert!(!may_be_written(url), "{url}");
        }
    }

    fn settings(name: &str, count: usize) -> HottestSettings {
        let folder =
            std::env::temp_dir().join(format!("pillion-hottest-{}-{name}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        HottestSettings {
            file: folder.join("hottest.txt"),
            count,
        }
    }

    #[test]
    fn what_is_written_is_read_by_nobody_else() {
        let settings = settings("round", 3);
        let (mut first, read) = Remembered::read(&settings);
        read.unwrap();
        assert!(first.urls().is_empty());
        let url = |number: u32| format!("http://a.test/{number}");
        first.update([url(1), url(2), "http://a.test/?token=x".to_owned()]);
        first.write().unwrap();
        let mode = fs::metadata(&settings.file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let (mut second, read) = Remembered::read(&settings);
        read.unwrap();
        assert_eq!(second.urls(), [url(1), url(2)]);
        // What is hot now comes first, what was hot stays behind it, as far as there is room.
        second.update([url(3), url(2)]);
        assert_eq!(second.urls(), [url(3), url(2), url(1)]);
        second.update([url(4)]);
        assert_eq!(second.urls(), [url(4), url(3), url(2)]);
        second.write().unwrap();
        assert!(!beside(&settings.file).exists());
        fs::remove_dir_all(settings.file.parent().unwrap()).unwrap();
    }

    #[test]
    fn a_file_of_something_else() {
        let settings = settings("other", 10);
        fs::write(
            &settings.file,
            b"\xff\xfe\nhttp://a.test/1\nrm -rf\n\nhttp://a.test/1\n",
        )
        .unwrap();
        let (remembered, read) = Remembered::read(&settings);
        read.unwrap();
        assert_eq!(remembered.urls(), ["http://a.test/1"]);
        fs::remove_dir_all(settings.file.parent().unwrap()).unwrap();
    }
}
