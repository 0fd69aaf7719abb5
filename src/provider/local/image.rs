//! The images that local servers are made from: pulled, or made here where no registry answers.

use std::{fs, io, os::unix::fs::PermissionsExt, path::Path, time::Duration};

use tokio_util::io::ReaderStream;

use crate::{
    core::process::Program,
    docker::{self, Build, Context, Engine, Secrets},
    provider::Error,
};

/// How long a registry may take. Where there is none, this is how long the first server waits.
const PULL_TIMEOUT: Duration = Duration::from_mins(2);

/// A distribution, and where debootstrap gets it from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Distribution {
    Debian,
    Ubuntu,
}

/// The script of debootstrap for all releases of Ubuntu: it may be older than the release.
const UBUNTU_SCRIPT: &str = "/usr/share/debootstrap/scripts/gutsy";
/// Debian has no package of Ubuntu's keys. The digest is that of Ubuntu's package list.
const UBUNTU_KEYS: &str = "http://archive.ubuntu.com/ubuntu/pool/main/u/ubuntu-keyring/ubuntu-keyring_2023.11.28.1_all.deb";
const UBUNTU_KEYS_DIGEST: &str =
    "SHA256:36de43b15853ccae0028e9a767613770c704833f82586f28eb262f0311adb8a8";
const UBUNTU_KEYRING: &str = "usr/share/keyrings/ubuntu-archive-keyring.gpg";

impl Distribution {
    fn mirror(self) -> &'static str {
        match self {
            Distribution::Debian => "http://deb.debian.org/debian",
            Distribution::Ubuntu if cfg!(target_arch = "x86_64") => {
                "http://archive.ubuntu.com/ubuntu"
            }
            Distribution::Ubuntu => "http://ports.ubuntu.com/ubuntu-ports",
        }
    }
}

/// What every base image has beside the smallest system: certificates, and a static busybox that
/// small containers can be made of.
const PACKAGES: &str = "ca-certificates,busybox-static";

/// How many lines of debootstrap go into an error.
const LOG_LINES: usize = 10;

/// An image for local servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Image {
    /// The name in `image: NAME`.
    pub name: &'static str,
    suite: &'static str,
    base: &'static str,
    upstream: &'static str,
    docker: bool,
    distribution: Distribution,
}

/// The images there are. The plain ones bring the engine's packages along, so that `docker.setup`
/// has little to do; the bare ones are what a cloud gives.
pub(super) const IMAGES: [Image; 8] = [
    image("debian-13", "trixie", "hitc/debian:13", "debian:13", true),
    image(
        "debian-13-bare",
        "trixie",
        "hitc/debian:13",
        "debian:13",
        false,
    ),
    image("debian-12", "bookworm", "hitc/debian:12", "debian:12", true),
    image(
        "debian-12-bare",
        "bookworm",
        "hitc/debian:12",
        "debian:12",
        false,
    ),
    ubuntu("ubuntu-24.04", "noble", "hitc/ubuntu:24.04", true),
    ubuntu("ubuntu-24.04-bare", "noble", "hitc/ubuntu:24.04", false),
    ubuntu("ubuntu-22.04", "jammy", "hitc/ubuntu:22.04", true),
    ubuntu("ubuntu-22.04-bare", "jammy", "hitc/ubuntu:22.04", false),
];

const fn ubuntu(
    name: &'static str,
    suite: &'static str,
    base: &'static str,
    docker: bool,
) -> Image {
    Image {
        name,
        suite,
        base,
        // Without `hitc/`: Docker's official image.
        upstream: base.split_at("hitc/".len()).1,
        docker,
        distribution: Distribution::Ubuntu,
    }
}

const fn image(
    name: &'static str,
    suite: &'static str,
    base: &'static str,
    upstream: &'static str,
    docker: bool,
) -> Image {
    Image {
        name,
        suite,
        base,
        upstream,
        docker,
        distribution: Distribution::Debian,
    }
}

impl Image {
    /// The image named so.
    pub(super) fn find(name: &str) -> Option<Self> {
        IMAGES.into_iter().find(|image| image.name == name)
    }

    /// Makes sure that the engine has the image, and gives its name there. The name contains a
    /// digest of what it is made from, so that a new version of hitc builds its own.
    pub(super) async fn ensure(
        self,
        engine: &Engine,
        progress: docker::Progress<'_>,
    ) -> Result<String, Error> {
        let folder = tempfile::tempdir().map_err(|error| fail("making its image", &error))?;
        let folder = folder.path().join(self.name);
        write_context(&folder, self).map_err(|error| fail("making its image", &error))?;
        let name = Context::read(&folder)
            .map_err(|error| fail("making its image", &error))?
            .image_name();
        if !engine.has_image(&name).await? {
            self.ensure_base(engine, progress).await?;
            let build = Build {
                folder,
                name: name.clone(),
                platform: None,
                secrets: Secrets::default(),
                project: None,
            };
            engine.build(&build, progress).await?;
        }
        Ok(name)
    }

    async fn ensure_base(
        self,
        engine: &Engine,
        progress: docker::Progress<'_>,
    ) -> Result<(), Error> {
        if engine.has_image(self.base).await? {
            return Ok(());
        }
        let pull = tokio::time::timeout(PULL_TIMEOUT, engine.pull(self.upstream, progress));
        if engine.has_image(self.upstream).await? || matches!(pull.await, Ok(Ok(()))) {
            return self.extend_upstream(engine, progress).await;
        }
        progress(format!(
            "no registry answers: making {} with debootstrap, which takes a minute",
            self.base
        ));
        self.bootstrap(engine).await
    }

    /// Adds our packages to the distribution's own image.
    async fn extend_upstream(
        self,
        engine: &Engine,
        progress: docker::Progress<'_>,
    ) -> Result<(), Error> {
        let folder = tempfile::tempdir().map_err(|error| fail("making its image", &error))?;
        let dockerfile = format!(
            "FROM {}\nRUN apt-get update -q && apt-get install -qy --no-install-recommends {} \
             && rm -rf /var/lib/apt/lists/*\n",
            self.upstream,
            PACKAGES.replace(',', " "),
        );
        fs::write(folder.path().join("Dockerfile"), dockerfile)
            .map_err(|error| fail("making its image", &error))?;
        let build = Build {
            folder: folder.path().to_owned(),
            name: self.base.to_owned(),
            platform: None,
            secrets: Secrets::default(),
            project: None,
        };
        Ok(engine.build(&build, progress).await?)
    }

    /// Makes the base image from the distribution's packages.
    async fn bootstrap(self, engine: &Engine) -> Result<(), Error> {
        if run(&Program::new(["debootstrap", "--version"]))
            .await
            .is_err()
        {
            install_debootstrap().await?;
        }
        // Not under /tmp, which may forbid devices and programs.
        let folder = tempfile::tempdir_in("/var/tmp")
            .map_err(|error| fail("making a folder for debootstrap", &error))?;
        let root = folder.path().join("root").display().to_string();
        let archive = folder.path().join("root.tar");
        let bootstrapped = async {
            let include = format!("--include={PACKAGES}");
            let mut arguments = vec!["debootstrap", "--variant=minbase", &include];
            let keys = folder.path().join("keys").display().to_string();
            let keyring = format!("--keyring={keys}/{UBUNTU_KEYRING}");
            let mirror = self.distribution.mirror();
            match self.distribution {
                Distribution::Debian => arguments.extend([self.suite, &root, mirror]),
                Distribution::Ubuntu => {
                    fetch_ubuntu_keys(&keys).await?;
                    // Docker's packages are in `universe`.
                    arguments.extend(["--components=main,universe", &keyring, self.suite]);
                    arguments.extend([root.as_str(), mirror, UBUNTU_SCRIPT]);
                }
            }
            run(&Program::new(arguments).as_root()).await?;
            run(&Program::new([
                "tar",
                "-C",
                &root,
                "--exclude=./var/cache/apt/archives/*.deb",
                "--exclude=./var/lib/apt/lists/*",
                "--exclude=./dev/*",
                "-cf",
                &archive.display().to_string(),
                ".",
            ])
            .as_root())
            .await?;
            let file = tokio::fs::File::open(&archive)
                .await
                .map_err(|error| fail("reading what debootstrap made", &error))?;
            Ok(engine.import(ReaderStream::new(file), self.base).await?)
        }
        .await;
        // Root's files in our folder: only root can remove them.
        let removed = run(&Program::new(["rm", "-rf", "--one-file-system", &root]).as_root()).await;
        bootstrapped.and(removed)
    }
}

/// Unpacks the keys that sign Ubuntu's packages into a folder.
async fn fetch_ubuntu_keys(folder: &str) -> Result<(), Error> {
    let package = format!("{folder}.deb");
    let helper = "/usr/lib/apt/apt-helper";
    let fetch = [
        helper,
        "download-file",
        UBUNTU_KEYS,
        &package,
        UBUNTU_KEYS_DIGEST,
    ];
    run(&Program::new(fetch)).await?;
    run(&Program::new(["dpkg-deb", "--extract", &package, folder])).await
}

async fn install_debootstrap() -> Result<(), Error> {
    let apt = |arguments: &[&str]| {
        let mut program = Program::new(["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=300"]);
        program
            .argv
            .extend(arguments.iter().map(|s| (*s).to_owned()));
        program
            .environment
            .push(("DEBIAN_FRONTEND".to_owned(), "noninteractive".to_owned()));
        program.as_root()
    };
    run(&apt(&["update"])).await?;
    run(&apt(&[
        "install",
        "-y",
        "--no-install-recommends",
        "debootstrap",
        "debian-archive-keyring",
    ]))
    .await
}

/// Runs a program that must succeed.
async fn run(program: &Program) -> Result<(), Error> {
    let what = format!("running {}", program.argv.join(" "));
    let output = program
        .run(|_, _| ())
        .await
        .map_err(|error| fail(&what, &error))?;
    if output.ok() {
        return Ok(());
    }
    // debootstrap and apt-get explain themselves on either stream.
    let (said, text) = (output.tail(LOG_LINES), output.text());
    let said = match text.lines().last() {
        Some(last) if said.is_empty() => last,
        _ => &said,
    };
    Err(Error::Failed {
        provider: super::NAME.to_owned(),
        what,
        cause: format!("{}\n{said}", output.exit),
    })
}

fn write_context(folder: &Path, image: Image) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let docker = if image.docker { "yes" } else { "no" };
    let dockerfile = include_str!("Dockerfile")
        .replace("ARG BASE\n", &format!("ARG BASE={}\n", image.base))
        .replace("ARG DOCKER\n", &format!("ARG DOCKER={docker}\n"));
    fs::write(folder.join("Dockerfile"), dockerfile)?;
    fs::write(folder.join("sshd.conf"), include_str!("sshd.conf"))?;
    let init = folder.join("init.sh");
    fs::write(&init, include_str!("init.sh"))?;
    fs::set_permissions(init, fs::Permissions::from_mode(0o755))
}

fn fail(what: &str, error: &io::Error) -> Error {
    Error::Failed {
        provider: super::NAME.to_owned(),
        what: what.to_owned(),
        cause: error.to_string(),
    }
}
