//! Builds images on the local machine.

use std::{
    collections::{HashMap, HashSet},
    fs,
    io::{self, Seek, SeekFrom},
    path::PathBuf,
};

use bollard::{body_try_stream, query_parameters::BuildImageOptionsBuilder};
use futures_util::StreamExt;
use tokio::sync::Mutex;
use tokio_util::io::ReaderStream;

use super::{
    Context, Platform, Progress, Secrets, blocking,
    buildkit::{self, Failure, News},
};
use crate::docker::{
    Engine, Error,
    api_error::{cause, is_broken},
    labels,
};

/// The size of a chunk of the build context that is sent, in bytes.
const CHUNK: usize = 256 * 1024;

/// How many lines of a build go into an error.
const LOG_LINES: usize = 15;

/// Held while an image is built on the local machine, for whatever server.
static BUILDING: Mutex<()> = Mutex::const_new(());

/// A build of an image.
#[derive(Clone, Debug)]
pub struct Build {
    /// The folder with the Dockerfile.
    pub folder: PathBuf,
    /// The name the image gets.
    pub name: String,
    /// The platform to build for, if other than that of the engine.
    pub platform: Option<Platform>,
    /// Its secrets.
    pub secrets: Secrets,
    /// The id of the project that builds it, which becomes a label.
    pub project: Option<String>,
}

impl Build {
    /// A build for a platform on an engine. The name of an image for another platform says so.
    pub fn on(folder: PathBuf, name: &str, platform: &Platform, engine: &Platform) -> Self {
        if platform == engine {
            return Build {
                folder,
                name: name.to_owned(),
                platform: None,
                secrets: Secrets::default(),
                project: None,
            };
        }
        Build {
            folder,
            name: format!("{name}{}", platform.suffix()),
            platform: Some(platform.clone()),
            secrets: Secrets::default(),
            project: None,
        }
    }

    /// The labels of the image.
    fn labels(&self) -> HashMap<String, String> {
        let project = self.project.iter();
        project
            .map(|id| (labels::BUILT.to_owned(), id.clone()))
            .collect()
    }

    /// The operation, for messages.
    fn doing(&self) -> String {
        format!("building `{}` from `{}`", self.name, self.folder.display())
    }
}

impl Engine {
    /// Builds an image from a folder. Does nothing if the engine has it: the name contains a digest of
    /// the content.
    pub async fn build(&self, build: &Build, progress: Progress<'_>) -> Result<(), Error> {
        // Builds of one folder that run at the same time make different images.
        let _one = BUILDING.lock().await;
        if self.has_image(&build.name).await? {
            return Ok(());
        }
        let fail = |cause: String, log: &[String]| Error::Build {
            image: build.name.clone(),
            folder: build.folder.display().to_string(),
            cause,
            log: log[log.len().saturating_sub(LOG_LINES)..].join("\n"),
        };
        progress(format!("building {}", build.name));
        let folder = build.folder.clone();
        let (archive, dockerfile) = blocking(move || {
            let mut file = tempfile::tempfile()?;
            let context = Context::read(&folder)?;
            context.write_tar(&mut file)?;
            file.seek(SeekFrom::Start(0))?;
            let dockerfile = fs::read(folder.join("Dockerfile"))?;
            let dockerfile = String::from_utf8_lossy(&dockerfile).into_owned();
            Ok::<_, io::Error>((file, dockerfile))
        })
        .await
        .map_err(|error| fail(error.to_string(), &[]))?;
        let mut required = buildkit::required_secrets(&dockerfile).into_iter();
        if let Some(id) = required.find(|id| !build.secrets.0.contains_key(id)) {
            return Err(Error::BuildSecret {
                image: build.name.clone(),
                folder: build.folder.display().to_string(),
                id,
            });
        }
        let archive = tokio::fs::File::from_std(archive);
        let archive = ReaderStream::with_capacity(archive, CHUNK);
        let bases = bases(&dockerfile);
        let mut log = Vec::new();
        if buildkit::is_needed(&dockerfile) || !build.secrets.0.is_empty() {
            for base in &bases {
                if !self.has_image(base).await? {
                    Box::pin(self.pull(base, progress)).await?;
                }
            }
            let tell = |news| match news {
                News::Step(name) => {
                    let step: Vec<&str> = name.splitn(5, ' ').take(4).collect();
                    progress(format!("building {}: {}", build.name, step.join(" ")));
                    log.push(name);
                }
                News::Output(line) => log.push(line),
            };
            let (platform, secrets) = (build.platform.as_ref(), &build.secrets);
            let (name, labels) = (&build.name, build.labels());
            let built = self.build_with_buildkit(name, platform, secrets, &labels, archive, tell);
            built.await.map_err(|failure| match failure {
                Failure::Refused(cause) => fail(cause, &log),
                Failure::Broken(cause) => self.broken(build.doing(), cause),
            })?;
            return self.check_built(build).await;
        }
        let credentials = self.registries.credentials_of(&bases).await?;
        let platform = build.platform.as_ref().map(Platform::to_string);
        let mut options = BuildImageOptionsBuilder::new()
            .t(&build.name)
            .labels(&build.labels())
            .rm(true)
            .forcerm(true);
        if let Some(platform) = &platform {
            options = options.platform(platform);
        }
        let body = body_try_stream(archive);
        let mut messages = self
            .docker
            .build_image(options.build(), Some(credentials), Some(body));
        while let Some(message) = messages.next().await {
            let message = message.map_err(|error| {
                if is_broken(&error) {
                    self.error(build.doing(), &error)
                } else {
                    fail(cause(&error), &log)
                }
            })?;
            let text = message.stream.unwrap_or_default();
            for line in text.lines().filter(|line| !line.trim().is_empty()) {
                if line.starts_with("Step ") {
                    // Only the beginning of the instruction, which may be long.
                    let step: Vec<&str> = line.splitn(5, ' ').take(4).collect();
                    progress(format!("building {}: {}", build.name, step.join(" ")));
                }
                log.push(line.to_owned());
            }
        }
        self.check_built(build).await
    }

    /// Fails if the engine does not have the image: an engine that is stopped ends its messages as
    /// after a build that succeeded.
    async fn check_built(&self, build: &Build) -> Result<(), Error> {
        if self.has_image(&build.name).await? {
            return Ok(());
        }
        let cause = "its messages ended before the image was there".to_owned();
        Err(self.broken(build.doing(), cause))
    }
}

/// The images that a Dockerfile starts from, as far as they are written without variables.
fn bases(dockerfile: &str) -> Vec<String> {
    let mut stages = HashSet::from(["scratch".to_owned()]);
    let mut images = Vec::new();
    for line in dockerfile.lines() {
        let mut words = line.split_whitespace();
        if !words
            .next()
            .is_some_and(|word| word.eq_ignore_ascii_case("from"))
        {
            continue;
        }
        let mut words = words.skip_while(|word| word.starts_with("--"));
        let Some(image) = words.next() else {
            continue;
        };
        if !stages.contains(image) && !image.contains('$') {
            images.push(image.to_owned());
        }
        // `FROM IMAGE AS STAGE`.
        stages.extend(words.nth(1).map(str::to_owned));
    }
    images
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_that_a_dockerfile_starts_from() {
        let text = "ARG V=1\nFROM --platform=linux/amd64 r:5000/tools:1 AS tools\n\
                    from r:5000/app:$V\nRUN echo FROM x\nFROM tools\nFROM scratch\n  FROM b\n";
        assert_eq!(bases(text), ["r:5000/tools:1", "b"]);
    }

    #[test]
    fn names_for_other_platforms() {
        let platform = |text: &str| Platform::parse(text).unwrap();
        let (own, other) = (platform("linux/amd64"), platform("linux/arm64"));
        let build = Build::on("x".into(), "hitc/web:1", &own, &own);
        assert_eq!((build.name.as_str(), build.platform), ("hitc/web:1", None));
        let build = Build::on("x".into(), "hitc/web:1", &other, &own);
        assert_eq!(build.name, "hitc/web:1-arm64");
        assert_eq!(build.platform, Some(other));
    }
}
