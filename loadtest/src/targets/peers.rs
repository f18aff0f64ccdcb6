//! Pillion and its peers, each in front of the same app: one worker, the cache in memory, the log off.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::ValueEnum;

use super::{Program, Setting};
use crate::failure::{Failure, Result};
use crate::origin::Origin;

/// A proxy that can stand in front of the app.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Peer {
    Pillion,
    Nginx,
    Haproxy,
    Varnish,
}

impl Peer {
    /// As reports call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Pillion => "pillion",
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
            Self::Varnish => "varnish",
        }
    }

    pub(super) fn start(
        self,
        setting: &Setting<'_>,
        port: u16,
        admin: Option<u16>,
    ) -> Result<Program> {
        let folder = setting.folder;
        let (program, arguments) = match self {
            Self::Pillion => pillion(setting, port, admin.unwrap_or(0))?,
            Self::Nginx => {
                let file = write(folder, "nginx.conf", &nginx(setting, port))?;
                let prefix = folder.to_string_lossy().into_owned();
                (
                    installed("nginx")?,
                    vec!["-c".to_owned(), file, "-p".to_owned(), prefix],
                )
            }
            Self::Haproxy => {
                let file = write(folder, "haproxy.cfg", &haproxy(setting, port)?)?;
                (installed("haproxy")?, vec!["-f".to_owned(), file])
            }
            Self::Varnish => {
                let file = write(folder, "varnish.vcl", &varnish(setting)?)?;
                (
                    installed("varnishd")?,
                    varnish_arguments(setting, port, file),
                )
            }
        };
        let command = match &setting.cores {
            None => {
                let mut command = Command::new(program);
                command.args(arguments);
                command
            }
            Some(cores) => {
                let mut command = Command::new("taskset");
                command.args(["-c", cores]).arg(program).args(arguments);
                command
            }
        };
        Program::start(self.name(), command, folder)
    }
}

fn pillion(setting: &Setting<'_>, port: u16, admin: u16) -> Result<(PathBuf, Vec<String>)> {
    let upstream = upstream(setting.app);
    let (listen, admin) = (format!("127.0.0.1:{port}"), format!("127.0.0.1:{admin}"));
    let mut arguments = vec!["run".to_owned(), "--config".to_owned()];
    if let Some(config) = &setting.pillion_config {
        arguments.push(config.to_string_lossy().into_owned());
        for (flag, value) in [
            ("--upstream", upstream),
            ("--listen", listen),
            ("--admin", admin),
        ] {
            arguments.extend([flag.to_owned(), value]);
        }
        return Ok((setting.pillion.clone(), arguments));
    }
    let mut config = String::new();
    let mut line = |text: String| writeln!(config, "{text}").expect("a string takes all");
    if setting.one_worker {
        line("threads = 1".to_owned());
    }
    line(format!("[[listen]]\naddress = \"{listen}\""));
    if let Some(certificate) = setting.certificate {
        line(format!(
            "tls = {{ certificate = {:?}, key = {:?} }}",
            certificate.chain, certificate.key
        ));
    }
    line(format!(
        "[admin]\naddress = \"{admin}\"\n[upstream.app]\nurl = \"{upstream}\""
    ));
    line(format!(
        "[request_log]\nenabled = false\n[cache]\nenabled = {}",
        setting.cache
    ));
    arguments.push(write(setting.folder, "pillion.toml", &config)?);
    Ok((setting.pillion.clone(), arguments))
}

/// Debian's brotli module is used where it is installed, and gzip beside it for others.
fn nginx(setting: &Setting<'_>, port: u16) -> String {
    let folder = setting.folder.display();
    let module = Path::new("/usr/lib/nginx/modules/ngx_http_brotli_filter_module.so");
    let (load, brotli) = if module.exists() {
        let load = format!("load_module {};", module.display());
        (
            load,
            "brotli on; brotli_comp_level 5; brotli_types text/plain application/json;",
        )
    } else {
        (String::new(), "")
    };
    let cache = setting.memory.join("nginx-cache");
    let cache = cache.display();
    let (zone, used) = if setting.cache {
        (
            format!("proxy_cache_path {cache} keys_zone=z:32m max_size=256m;"),
            "proxy_cache z; proxy_cache_lock on;",
        )
    } else {
        (String::new(), "")
    };
    let upstream = match &setting.app.unix {
        Some(path) => format!("unix:{}", path.display()),
        None => format!("{}:{}", setting.app.host, setting.app.port),
    };
    let (tls, certificate) = match setting.certificate {
        Some(files) => (
            " ssl http2",
            format!(
                "ssl_certificate {}; ssl_certificate_key {};",
                files.chain.display(),
                files.key.display()
            ),
        ),
        None => ("", String::new()),
    };
    let http2 = if setting.http2 && tls.is_empty() {
        " http2"
    } else {
        ""
    };
    // An nginx that root starts changes its worker's user, who cannot read this folder.
    let user = if rustix::process::geteuid().is_root() {
        "user root;"
    } else {
        ""
    };
    let mut temporary = String::new();
    for name in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
        write!(temporary, "{name}_temp_path {folder}/{name}; ").expect("a string takes all");
    }
    format!(
        "{load} {user} daemon off; pid {folder}/nginx.pid; error_log stderr warn; worker_processes 1;\n\
         events {{ worker_connections 4096; }}\n\
         http {{ access_log off; {zone}\n\
         gzip on; gzip_proxied any; gzip_types text/plain application/json; {brotli}\n\
         keepalive_requests 100000000; etag on; client_max_body_size 0; {temporary}\n\
         upstream app {{ server {upstream}; keepalive 256; keepalive_requests 100000000; }}\n\
         server {{ listen 127.0.0.1:{port} backlog=4096{tls}{http2}; {certificate}\n\
         location / {{ proxy_pass http://app; proxy_http_version 1.1;\n\
         proxy_set_header Connection \"\"; proxy_set_header Host $http_host; {used} }} }} }}\n"
    )
}

fn haproxy(setting: &Setting<'_>, port: u16) -> Result<String> {
    let server = match &setting.app.unix {
        Some(path) => format!("unix@{}", path.display()),
        None => format!("{}:{}", setting.app.host, setting.app.port),
    };
    let bind = match setting.certificate {
        Some(files) => format!(" ssl crt {} alpn h2,http/1.1", files.both.display()),
        None if setting.http2 => " proto h2".to_owned(),
        None => String::new(),
    };
    let (cache, used) = if setting.cache {
        (
            "cache c\n  total-max-size 64\n  max-object-size 1000000\n  max-age 3600\n",
            "  http-request cache-use c\n  http-response cache-store c\n",
        )
    } else {
        ("", "")
    };
    if setting.app.tls {
        return Err(plain_apps_only("haproxy"));
    }
    Ok(format!(
        "global\n  nbthread 1\n  maxconn 4096\n\
         defaults\n  mode http\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n\
         {cache}\
         frontend f\n  bind 127.0.0.1:{port}{bind}\n  default_backend b\n\
         backend b\n  http-reuse always\n{used}\
         \x20 compression algo gzip\n  compression type text/html text/plain application/json\n\
         \x20 server s {server}\n"
    ))
}

fn varnish(setting: &Setting<'_>) -> Result<String> {
    if setting.certificate.is_some() {
        return Err(Failure::usage(
            "Varnish has no TLS of its own; leave it out, or write tls = false in the scenario.",
        ));
    }
    if setting.app.tls || setting.app.unix.is_some() {
        return Err(plain_apps_only("varnish"));
    }
    let pass = if setting.cache {
        ""
    } else {
        "sub vcl_recv { return (pass); }\n"
    };
    Ok(format!(
        "vcl 4.1;\nbackend default {{ .host = \"{}\"; .port = \"{}\"; }}\n{pass}\
         sub vcl_backend_response {{ if (beresp.http.content-type ~ \"text|json\") {{ set beresp.do_gzip = true; }} }}\n",
        setting.app.host, setting.app.port
    ))
}

fn varnish_arguments(setting: &Setting<'_>, port: u16, file: String) -> Vec<String> {
    let state = setting
        .folder
        .join("varnish")
        .to_string_lossy()
        .into_owned();
    let mut arguments = vec![
        "-F".to_owned(),
        "-f".to_owned(),
        file,
        "-n".to_owned(),
        state,
    ];
    arguments.extend(["-a".to_owned(), format!("127.0.0.1:{port}")]);
    arguments.extend(["-s".to_owned(), "malloc,64m".to_owned()]);
    arguments.extend(["-p".to_owned(), "thread_pools=1".to_owned()]);
    if setting.http2 {
        arguments.extend(["-p".to_owned(), "feature=+http2".to_owned()]);
    }
    arguments
}

fn plain_apps_only(name: &str) -> Failure {
    Failure::usage(format!(
        "{name} is set up for apps at http://HOST:PORT only."
    ))
}

fn upstream(app: &Origin) -> String {
    match &app.unix {
        Some(path) => format!("unix:{}", path.display()),
        None => app.base(),
    }
}

fn write(folder: &Path, name: &str, text: &str) -> Result<String> {
    let path = folder.join(name);
    fs::write(&path, text)
        .map(|()| path.to_string_lossy().into_owned())
        .map_err(|error| Failure::unmeasured(format!("{}: {error}.", path.display())))
}

/// Where `program` is, also where only administrators look.
fn installed(program: &str) -> Result<PathBuf> {
    on_path(program)
        .or_else(|| {
            let places = ["/usr/sbin", "/usr/local/sbin", "/sbin"];
            places
                .into_iter()
                .map(|place| Path::new(place).join(program))
                .find(|path| path.is_file())
        })
        .ok_or_else(|| {
            Failure::unmeasured(format!(
                "{program} is not installed; install it, or leave it out of --against."
            ))
        })
}

/// The first file of this name in the folders of PATH.
pub(crate) fn on_path(program: &str) -> Option<PathBuf> {
    let folders = std::env::var_os("PATH")?;
    std::env::split_paths(&folders)
        .map(|folder| folder.join(program))
        .find(|path| path.is_file())
}
