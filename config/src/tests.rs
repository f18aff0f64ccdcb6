use super::*;
#[test]
fn smoke() {
    for text in [
        "[upstream.app]\nurl = http://127.0.0.1:3000\n[cache]\nttl='1x'",
        "[upstream.app]\nurl = 'http://127.0.0.1:3000'\nurl='x'\n[cache]\nttl='1x'",
        "[upstream.app]\nurl = 'http://127.0.0.1:3000'\n[cache]\nttl='30s'\n[cache]\nvariants=1",
        "[upstream.app\nurl = 'http://127.0.0.1:3000'\n[cache]\nttl='1x'",
        "[upstream.app]\nurl = 'http://127.0.0.1:3000\n[cache]\nttl=30s",
        "listen = 1\n[[listen]]\naddress=''",
        "[[cache]]\nx=1",
        "upstream = []",
        "\u{feff}x=1",
        "[[listen]]\naddress='[::]:80'\ntls={certificate='x'}",
        "upstream.app.url=[1]",
        "upstream.app.urls='http://x'",
        "cache.force_ttl='30s'\ncache.enabled='yes'\nthreads=0\nrequest_log.sample=2\nlimits.body=0\nadmin=false",
        "[upstream]\nurl='http://127.0.0.1:1'",
        "ttl='30s'\nmax_size='1MiB'",
    ] {
        match load_text(
            text,
            Some("p.toml".as_ref()),
            &Overrides::default(),
            &|_| None,
        ) {
            Ok(_) => println!("OK"),
            Err(e) => println!("=====\n{e}"),
        }
    }
}
