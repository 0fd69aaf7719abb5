//! All integration tests.
#![allow(missing_docs)]
use hitc::{diagnostic::Diagnostic, docker::*, event::*, provider::*, ssh::*, value::Value};
use std::sync::Arc;
struct P;
impl Interface for P {
    fn show(&self, e: Event) {
        println!("{e:?}");
    }
    fn confirm(&self, _: &str, _: Option<&str>) -> Result<bool, Diagnostic> {
        Ok(true)
    }
}
#[tokio::test(flavor = "multi_thread")]
async fn smoke() {
    let t0 = std::time::Instant::now();
    let ev = Events::new(Arc::new(P));
    let l = Local::new("SMOKE-", "/tmp/hitcdata".into());
    let a = ev.start("x", "create");
    l.set_up(&a).await.unwrap();
    println!("setup {:?}", t0.elapsed());
    let t0 = std::time::Instant::now();
    let n = l
        .create(
            &Create {
                name: "web".into(),
                options: Value::empty_map(),
                tags: vec![],
            },
            &a,
        )
        .await
        .unwrap();
    println!("{n:?} {:?}", t0.elapsed());
    let t = l.target(&n).await.unwrap();
    println!("target {:?}", t0.elapsed());
    let pool = Pool::default();
    let c = pool
        .wait_for(&t, std::time::Duration::from_secs(10))
        .await
        .unwrap();
    println!("ssh {:?}", t0.elapsed());
    let o = c.run(&Command::new("uname -a; id; exit 3")).await.unwrap();
    println!("{o:?} {}", o.text());
    let t0 = std::time::Instant::now();
    println!("{:?} {:?}", set_up(&c).await, t0.elapsed());
    let e = Engine::at(&c).await.unwrap();
    println!("engine {:?}", t0.elapsed());
    let here = Engine::here().await.unwrap();
    let p = |s: String| println!("  {s}");
    here.push("hitc/debian:13", &e, &p).await.unwrap();
    println!("push {:?}", t0.elapsed());
    let mut s = Spec::new("ww", Image::Named("hitc/debian:13".into()));
    s.command = Some(vec![
        "sh".into(),
        "-c".into(),
        "echo hi >/index.html; exec busybox httpd -f -p 80 -h /".into(),
    ]);
    s.ports.insert("80:8080".parse().unwrap());
    e.create(&s, &Default::default()).await.unwrap();
    e.start("ww").await.unwrap();
    e.wait_until_ready(&s).await.unwrap();
    println!("run {:?}", t0.elapsed());
    println!("{:?}", e.running().await);
    println!("{:?}", e.containers().await.unwrap()[0].compare(&s, None));
    println!("{:?}", l.list().await);
    l.reboot(&n).await.unwrap();
    println!("reboot {:?}", t0.elapsed());
    pool.forget(&t.address);
    drop(c);
    drop(e);
    let c = pool
        .wait_for(&t, std::time::Duration::from_secs(10))
        .await
        .unwrap();
    println!("ssh {:?}", t0.elapsed());
    let e = loop {
        match Engine::at(&c).await {
            Ok(e) => break e,
            Err(x) => {
                println!("{x}");
                tokio::time::sleep(std::time::Duration::from_millis(200)).await
            }
        }
    };
    println!("engine {:?}", t0.elapsed());
    println!("{:?}", e.running().await);
    l.terminate(&n).await.unwrap();
}
