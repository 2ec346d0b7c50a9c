//! What cannot be done is said before hours of work, and no option is passed over in silence.

use super::Arguments;
use anyhow::{Result, bail};
use rusa::eval::KnnOptions;

impl Arguments {
    fn names_a_protocol(&self) -> bool {
        self.knn
            || self.linear
            || self.layers
            || self.few.is_some()
            || self.retrieval
            || self.clustering
            || !self.finetune.is_empty()
    }

    pub fn does_knn(&self) -> bool {
        self.knn || !self.names_a_protocol()
    }

    pub fn does_linear(&self) -> bool {
        self.linear || !self.names_a_protocol()
    }
}

/// Refuses options that nothing asked for would use, and values that make no sense.
pub fn arguments(arguments: &Arguments) -> Result<()> {
    let seeded = arguments.does_linear()
        || arguments.layers
        || arguments.few.is_some()
        || arguments.clustering
        || !arguments.finetune.is_empty();
    if arguments.seeds.is_some() && !seeded {
        bail!(
            "--seeds: --knn and --retrieval draw nothing at random; give --linear, --layers, --few, --finetune or \
             --clustering, or leave it out"
        );
    }
    for (option, given) in
        [("--k", arguments.k.is_some()), ("--temperature", arguments.temperature.is_some())]
    {
        if given && !arguments.does_knn() {
            bail!("{option} is of --knn, which is not asked for: add --knn, or leave {option} out");
        }
    }
    if arguments.k == Some(0) {
        bail!("--k 0: at least one neighbour must vote");
    }
    if let Some(t) = arguments.temperature.filter(|t| !(*t > 0.0 && t.is_finite())) {
        bail!("--temperature {t}: must be above 0");
    }
    if let Some(share) = arguments.finetune.iter().find(|share| !(**share > 0.0 && **share <= 1.0)) {
        bail!(
            "--finetune {share}: a share of the labels is above 0 and at most 1, such as --finetune 0.01,0.1,1; for a \
             number of labels a class, --few N --tuned"
        );
    }
    let Some(path) = &arguments.out else { return Ok(()) };
    if path.extension().is_none_or(|extension| extension != "svg") {
        bail!("--out {}: the curve is drawn as SVG; give a name that ends in .svg", path.display());
    }
    match (arguments.layers, arguments.few.is_some()) {
        (false, false) => bail!("--out draws the curve of --layers or --few; give one of them"),
        (true, true) => bail!("--out draws one curve; run --layers and --few apart, each with its own --out"),
        _ => Ok(()),
    }
}

/// How kNN votes with `images` to vote: refuses a `--k` beyond them, and says where the default is.
pub fn neighbours(arguments: &Arguments, images: usize) -> Result<KnnOptions> {
    let default = KnnOptions::default();
    let k = match arguments.k {
        Some(k) if k > images => {
            bail!("--k {k}: there are only {images} training images to vote; ask for at most that")
        }
        Some(k) => k,
        None => {
            if images < default.k {
                eprintln!(
                    "note: kNN votes with all {images} training images, fewer than the usual {}",
                    default.k
                );
            }
            default.k.min(images)
        }
    };
    Ok(KnnOptions { k, temperature: arguments.temperature.unwrap_or(default.temperature) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn parse(line: &str) -> Arguments {
        let words = ["eval", "run", "--data", "embedded"].into_iter().chain(line.split_whitespace());
        Line::try_parse_from(words).unwrap().arguments
    }

    fn refused(line: &str) -> String {
        arguments(&parse(line)).expect_err(line).to_string()
    }

    #[test]
    fn options_that_nothing_uses_are_refused() {
        assert!(refused("--knn --seeds 3").contains("draw nothing at random"));
        assert!(refused("--retrieval --knn --seeds 3").contains("--seeds"));
        for line in ["--linear --k 5", "--layers --k 5", "--few 1 --k 5", "--finetune 1 --k 5"] {
            assert!(refused(line).contains("--k is of --knn"), "{line}");
        }
        assert!(refused("--clustering --temperature 0.07").contains("--temperature is of --knn"));
        assert!(refused("--knn --out a.svg").contains("--layers or --few"));
        assert!(refused("--layers --few 1 --out a.svg").contains("one curve"));
        assert!(refused("--layers --out a.png").contains(".svg"));
        assert!(Line::try_parse_from(["eval", "run", "--data", "embedded", "--tuned"]).is_err());
    }

    #[test]
    fn values_without_sense_are_refused() {
        assert!(refused("--knn --k 0").contains("at least one neighbour"));
        assert!(
            refused("--temperature 0").contains("above 0")
                && refused("--temperature nan").contains("above 0")
        );
        for share in ["0", "1.5", "10", "nan"] {
            assert!(refused(&format!("--finetune 0.5,{share}")).contains("--few N --tuned"), "{share}");
        }
    }

    #[test]
    fn what_is_used_passes() {
        for line in [
            "--seeds 3 --k 5 --temperature 0.07",
            "--layers --seeds 3 --out a.svg",
            "--few 1,10 --tuned --seeds 3 --out a.svg",
            "--finetune 0.01,1 --seeds 3",
            "--clustering --retrieval --seeds 3",
        ] {
            arguments(&parse(line)).unwrap();
        }
        assert!(parse("").does_knn() && parse("").does_linear());
        assert!(parse("--knn").does_knn() && !parse("--knn").does_linear() && !parse("--layers").does_knn());
    }

    #[test]
    fn no_more_neighbours_than_images() {
        let error = neighbours(&parse("--knn --k 100000"), 8000).unwrap_err().to_string();
        assert!(error.contains("only 8000 training images"), "{error}");
        assert_eq!(
            neighbours(&parse("--knn --k 7 --temperature 0.5"), 7).unwrap(),
            KnnOptions { k: 7, temperature: 0.5 }
        );
        assert_eq!(neighbours(&parse(""), 60).unwrap().k, 60);
        assert_eq!(neighbours(&parse(""), 8000).unwrap(), KnnOptions::default());
    }
}
