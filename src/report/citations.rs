//! What to cite for a run: the program, and the papers of what it used.

use super::{Protection, Report, Route};
use crate::clip::ClipRule;
use crate::distributed::Method;
use crate::noise::NoiseRule;
use crate::optim::{BiasCorrection, Rule};

/// The program first, then the papers.
pub(super) fn citations(report: &Report) -> Vec<String> {
    let versions = &report.versions;
    let program = format!(
        "dpsgd {} with dp-accountant {}: training under differential privacy with certified accounting (program).",
        versions.dpsgd, versions.dp_accountant
    );
    let mut papers = vec![ABADI];
    papers.extend(clipping(report.privacy.clipping));
    papers.extend(noise(report.plan.draft().noise));
    papers.extend(report.nodes.iter().filter_map(|nodes| nodes.setting.as_ref()).filter_map(|of| method(&of.method)));
    if report.privacy.perturbation.is_some() {
        papers.push(CHEN);
    }
    papers.extend(optimizer(&report.recipe.optimizer.rule));
    if report.recipe.optimizer.ema.is_some() {
        papers.push(DE);
    }
    if report.recipe.augmentation.is_some() {
        papers.push(DE_COPIES);
    }
    let guarantees = || report.privacy.guarantees.iter();
    for answered in
        std::iter::once(&report.privacy.accountant).chain(guarantees().filter_map(|g| g.accountant.as_ref()))
    {
        papers.extend(accountant(answered));
    }
    let group = |route| guarantees().any(|g| g.protection == Protection::Group && g.route == Some(route));
    if group(Route::Exact) {
        papers.push(GANESH);
    }
    if group(Route::GroupLemma) {
        papers.push(VADHAN);
    }
    let mut list = vec![program];
    for paper in papers {
        if !list.iter().any(|known| known == paper) {
            list.push(paper.into());
        }
    }
    list
}

fn clipping(rule: ClipRule) -> Option<&'static str> {
    match rule {
        ClipRule::Flat => None,
        ClipRule::PerLayer | ClipRule::PerParameter => Some(MCMAHAN),
        ClipRule::Automatic { .. } | ClipRule::Normalised => Some(BU),
        ClipRule::Psac { .. } => Some(XIA),
        ClipRule::Adaptive(_) => Some(ANDREW),
    }
}

fn method(method: &Method) -> Option<&'static str> {
    match method {
        Method::ClipGd { .. } => None,
        Method::Clip21 { .. } => Some(KHIRIRAT),
        Method::Clip21Sgd2m { .. } => Some(ISLAMOV),
        Method::NormEc { .. } => Some(SHULGIN),
        Method::DiceSgd { .. } => Some(ZHANG),
        Method::Celgc { .. } | Method::ParallelClip { .. } => Some(LIU_CELGC),
        Method::Episode { .. } => Some(CRAWSHAW),
        Method::Dcgd { .. } | Method::ErrorFeedback { .. } => Some(BEZNOSIKOV),
        Method::Ef21 { .. } => Some(RICHTARIK),
        Method::Dsgd { .. } | Method::GradientTracking { .. } | Method::Kgt { .. } => Some(LIU_KGT),
        Method::Scaffold { .. } => Some(KARIMIREDDY),
    }
}

fn noise(rule: NoiseRule) -> &'static [&'static str] {
    match rule {
        NoiseRule::Independent => &[],
        NoiseRule::Tree => &[KAIROUZ],
        NoiseRule::Banded { .. } => &[KALININ, CHOQUETTE_CHOO],
    }
}

fn optimizer(rule: &Rule) -> Vec<&'static str> {
    let (config, first) = match rule {
        Rule::Sgd(_) => return Vec::new(),
        Rule::Adam(config) => (config, KINGMA),
        Rule::AdamW(config) => (config, LOSHCHILOV),
    };
    match config.bias_correction {
        BiasCorrection::Off => vec![first],
        _ => vec![first, TANG],
    }
}

fn accountant(name: &str) -> &'static [&'static str] {
    match name {
        "moments" => &[ZHU],
        "pld" => &[KOSKELA, DOROSHENKO],
        "rdp" => &[MIRONOV],
        "analytic" => &[BALLE],
        "gdp" => &[DONG],
        _ => &[],
    }
}

const KHIRIRAT: &str = "S. Khirirat, E. Gorbunov, S. Horvath, R. Islamov, F. Karray, P. Richtarik. Clip21: Error Feedback for Gradient \
                        Clipping. 2023, arXiv 2305.18929. (algorithm of the nodes)";
const ISLAMOV: &str = "R. Islamov, S. Horvath, A. Lucchi, P. Richtarik, E. Gorbunov. Double Momentum and Error Feedback for Clipping \
                       with Fast Rates and Differential Privacy. 2025, arXiv 2502.11682. (algorithm of the nodes)";
const SHULGIN: &str = "E. Shulgin, S. Khirirat, P. Richtarik. Smoothed Normalization for Efficient Distributed Private Optimization. \
                       2025, arXiv 2502.13482. (algorithm of the nodes)";
const ZHANG: &str = "X. Zhang, Z. Bu, Z. S. Wu, M. Hong. Differentially Private SGD Without Clipping Bias: An Error-Feedback Approach. \
                     2023, arXiv 2311.14632. (algorithm of the nodes)";
const LIU_CELGC: &str = "M. Liu, Z. Zhuang, Y. Lei, C. Liao. A Communication-Efficient Distributed Gradient Clipping Algorithm for \
                         Training Deep Neural Networks. NeurIPS 2022, arXiv 2205.05040. (algorithm of the nodes)";
const CRAWSHAW: &str = "M. Crawshaw, Y. Bao, M. Liu. EPISODE: Episodic Gradient Clipping with Periodic Resampled Corrections for \
                        Federated Learning with Heterogeneous Data. ICLR 2023, arXiv 2302.07155. (algorithm of the nodes)";
const BEZNOSIKOV: &str = "A. Beznosikov, S. Horvath, P. Richtarik, M. Safaryan. On Biased Compression for Distributed Learning. JMLR \
                          2023, arXiv 2002.12410. (algorithm of the nodes)";
const RICHTARIK: &str = "P. Richtarik, I. Sokolov, I. Fatkhullin. EF21: A New, Simpler, Theoretically Better, and Practically Faster \
                         Error Feedback. NeurIPS 2021, arXiv 2106.05203. (algorithm of the nodes)";
const LIU_KGT: &str = "Y. Liu, T. Lin, A. Koloskova, S. U. Stich. Decentralized Gradient Tracking with Local Steps. Optimization Methods \
                       and Software 2024, arXiv 2301.01313. (algorithm of the nodes)";
const KARIMIREDDY: &str = "S. P. Karimireddy, S. Kale, M. Mohri, S. J. Reddi, S. U. Stich, A. T. Suresh. SCAFFOLD: Stochastic Controlled \
                           Averaging for Federated Learning. ICML 2020, arXiv 1910.06378. (algorithm of the nodes)";
const ABADI: &str = "M. Abadi, A. Chu, I. Goodfellow, H. B. McMahan, I. Mironov, K. Talwar, L. Zhang. Deep Learning with Differential \
                     Privacy. CCS 2016, arXiv 1607.00133. (DP-SGD, flat clipping)";
const MCMAHAN: &str = "H. B. McMahan, D. Ramage, K. Talwar, L. Zhang. Learning Differentially Private Recurrent Language Models. ICLR \
                       2018, arXiv 1710.06963. (clipping by groups of parameters)";
const BU: &str = "Z. Bu, Y.-X. Wang, S. Zha, G. Karypis. Automatic Clipping: Differentially Private Deep Learning Made Easier and \
                  Stronger. 2022, arXiv 2206.07136. (clipping rule)";
const ANDREW: &str =
    "Andrew, Thakkar, McMahan and Ramaswamy (2021): Differentially Private Learning with Adaptive Clipping. NeurIPS.";
const KAIROUZ: &str = "P. Kairouz, B. McMahan, S. Song, O. Thakkar, A. Thakurta, Z. Xu. Practical and Private (Deep) Learning Without \
                       Sampling or Shuffling. ICML 2021, arXiv 2103.00039. (tree noise)";
const CHOQUETTE_CHOO: &str = "C. A. Choquette-Choo, A. Ganesh, R. McKenna, H. B. McMahan, K. Rush, A. Thakurta, Z. Xu. (Amplified) \
                              Banded Matrix Factorization: A unified approach to private training. NeurIPS 2023, arXiv 2306.08153. \
                              (cyclic Poisson sampling)";
const KALININ: &str = "N. P. Kalinin, C. Lampert. Banded Square Root Matrix Factorization for Differentially Private Model Training. \
                       NeurIPS 2024, arXiv 2405.13763. (banded noise)";
const XIA: &str = "T. Xia et al. Differentially Private Learning with Per-Sample Adaptive Clipping. AAAI 2023, arXiv 2212.00328. \
                   (clipping rule)";
const CHEN: &str = "X. Chen, Z. S. Wu, M. Hong. Understanding Gradient Clipping in Private SGD: A Geometric Perspective. NeurIPS 2020, \
                    arXiv 2006.15429. (perturbation before the clip)";
const KINGMA: &str =
    "D. P. Kingma, J. Ba. Adam: A Method for Stochastic Optimization. ICLR 2015, arXiv 1412.6980. (optimiser)";
const LOSHCHILOV: &str =
    "I. Loshchilov, F. Hutter. Decoupled Weight Decay Regularization. ICLR 2019, arXiv 1711.05101. (optimiser)";
const TANG: &str = "Q. Tang, F. Shpilevskiy, M. Lecuyer. DP-AdamBC: Your DP-Adam Is Actually DP-SGD (Unless You Apply Bias Correction). \
                    AAAI 2024, arXiv 2312.14334. (noise taken off the mean square)";
const DE: &str = "S. De, L. Berrada, J. Hayes, S. L. Smith, B. Balle. Unlocking High-Accuracy Differentially Private Image \
                  Classification through Scale. 2022, arXiv 2204.13650. (average of the parameters)";
const DE_COPIES: &str = "S. De, L. Berrada, J. Hayes, S. L. Smith, B. Balle. Unlocking High-Accuracy Differentially Private Image \
                         Classification through Scale. 2022, arXiv 2204.13650. (copies of examples)";
const ZHU: &str = "Y. Zhu, J. Dong, Y.-X. Wang. Optimal Accounting of Differential Privacy via Characteristic Function. AISTATS 2022, \
                   arXiv 2106.08567. (accountant moments)";
const KOSKELA: &str = "A. Koskela, J. Jalko, A. Honkela. Computing Tight Differential Privacy Guarantees Using FFT. AISTATS 2020, arXiv \
                       1906.03049. (accountant pld)";
const DOROSHENKO: &str = "V. Doroshenko, B. Ghazi, P. Kamath, R. Kumar, P. Manurangsi. Connect the Dots: Tighter Discrete \
                          Approximations of Privacy Loss Distributions. PoPETs 2022, arXiv 2207.04380. (accountant pld)";
const MIRONOV: &str = "I. Mironov, K. Talwar, L. Zhang. Renyi Differential Privacy of the Sampled Gaussian Mechanism. 2019, arXiv \
                       1908.10530. (accountant rdp)";
const BALLE: &str = "B. Balle, Y.-X. Wang. Improving the Gaussian Mechanism for Differential Privacy. ICML 2018, arXiv 1805.06530. \
                     (accountant analytic)";
const DONG: &str =
    "J. Dong, A. Roth, W. J. Su. Gaussian Differential Privacy. JRSS B 2022, arXiv 1905.02383. (accountant gdp)";
const GANESH: &str = "A. Ganesh. Tight Group-Level DP Guarantees for DP-SGD with Sampling via Mixture of Gaussians Mechanisms. 2024, \
                      arXiv 2401.10294. (people with several records)";
const VADHAN: &str =
    "S. Vadhan. The Complexity of Differential Privacy. 2017. (group lemma, for people with several records)";
