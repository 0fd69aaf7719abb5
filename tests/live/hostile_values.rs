//! Values that look like shell code, YAML or JSON arrive in containers byte by byte and are never
//! executed.

use std::{fs, sync::Mutex};

use hitc::{
    core::{
        event::Stream,
        owner::Owner,
        value::{Data, Value},
    },
    docker::{Build, Containers, Engine, Run},
    ssh::Terminations,
};

use crate::support::live::Live;

const DOCKERFILE: &str = r#"
FROM hitc/debian:13 AS tools
FROM scratch
COPY --from=tools /usr/bin/busybox /bin/busybox
RUN ["/bin/busybox", "--install", "-s", "/bin"]
"#;

/// Parts of hostile values.
const PARTS: [&str; 20] = [
    "'",
    "\"",
    "\\",
    "\n",
    "\r\n",
    "\t",
    " ",
    "$(touch /executed)",
    "`touch /executed`",
    "; touch /executed",
    "${PATH}",
    "%s",
    "&&",
    "|",
    ">",
    "ö",
    "\u{202e}",
    "\u{1b}[31m",
    "--",
    "#",
];

fn hostile(random: &mut fastrand::Rng) -> String {
    let count = random.usize(1..12);
    (0..count)
        .map(|_| match random.u8(0..4) {
            0 => random.char('!'..'\u{2fff}').to_string(),
            _ => PARTS[random.usize(0..PARTS.len())].to_owned(),
        })
        .collect()
}

fn list(items: &[String]) -> Value {
    let items = items.iter().map(|item| Value::text(item.as_str()));
    Value {
        data: Data::List(items.collect()),
        span: None,
    }
}

/// Runs a container to its end and returns what it wrote.
async fn output(engine: &Engine, live: &Live, options: Vec<(&'static str, Value)>) -> Vec<u8> {
    let run = Run::decode(Value::map(options), &live.root(), None).unwrap();
    let owner = Owner {
        project: live.project_id(),
        manifest: None,
    };
    let written = Mutex::new(Vec::new());
    let on_output = |stream, bytes: &[u8]| {
        assert_eq!(stream, Stream::Stdout, "{}", String::from_utf8_lossy(bytes));
        written.lock().unwrap().extend_from_slice(bytes);
    };
    let terminations = Terminations::default();
    let attached = run.attach(engine, &owner, &|_| (), &terminations).await;
    attached.unwrap().wait(on_output).await.unwrap();
    written.into_inner().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_values_arrive_as_they_are() {
    let live = Live::new();
    let engine = Engine::here().await.unwrap();
    let folder = live.root().join("hostile");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("Dockerfile"), DOCKERFILE).unwrap();
    let image = "hitc/hostile:1".to_owned();
    let build = Build {
        folder,
        name: image.clone(),
        platform: None,
        secrets: hitc::docker::Secrets::default(),
        project: None,
    };
    engine.build(&build, &|_| ()).await.unwrap();
    let name = live.container("values");
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    for round in 0..12 {
        let what = format!("seed {seed}, round {round}");
        let mut words: Vec<String> = (0..4).map(|_| hostile(&mut random)).collect();
        let mut value = hostile(&mut random);
        let mut label = hostile(&mut random);
        if round == 0 {
            // The kernel takes up to 128 KiB for one argument or variable.
            value = "x'\"$(".repeat(20_000);
            words[0] = "\"\\`".repeat(30_000);
            label = "'$(`\"\n".repeat(200_000);
        }
        // Prints the variable, the arguments, and whether something was executed.
        let script = "printf '%s\\0' \"$VALUE\" \"$@\"; ls /executed 2>/dev/null; exit 0";
        let command = [&["sh", "-c", script, "sh"].map(str::to_owned)[..], &words].concat();
        let options = vec![
            ("image", Value::text(image.as_str())),
            ("name", Value::text(name.as_str())),
            ("pull", Value::text("never")),
            ("replace", Value::text("true")),
            ("command", list(&command)),
            (
                "environment",
                Value::map([("VALUE", Value::text(value.as_str()))]),
            ),
            (
                "labels",
                Value::map([("label", Value::text(label.as_str()))]),
            ),
        ];
        let written = output(&engine, &live, options).await;
        let mut expected = Vec::new();
        for text in std::iter::once(&value).chain(&words) {
            expected.extend_from_slice(text.as_bytes());
            expected.push(0);
        }
        assert!(
            written == expected,
            "{what}: {}",
            String::from_utf8_lossy(&written)
        );
        let found = engine.find(&name).await.unwrap().unwrap();
        assert!(found.labels.get("label") == Some(&label), "{what}");
        // Reading it back gives what was written: nothing would change.
        assert!(
            found.options.environment().get("VALUE") == Some(&value),
            "{what}"
        );
    }
    for name in ["a b", "$(touch x)", "a;b", "-x", "ö", "a\nb", "../x"] {
        let options = [("image", image.as_str()), ("name", name), ("pull", "never")];
        let options = Value::map(options.map(|(key, value)| (key, Value::text(value))));
        let refused = Run::decode(options, &live.root(), None);
        let message = refused.map(drop).unwrap_err().message;
        assert!(message.starts_with("name: invalid name"), "{message}");
    }
    let found = engine.find(&name).await.unwrap().unwrap();
    engine.remove(&found.id).await.unwrap();
}
