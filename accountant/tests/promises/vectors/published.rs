//! What other tools and tutorials state.

use dp_accountant::{Accountant, Analytic, Event, GaussianMixture, Moments, Rdp, Relation, calibrate};

use super::{close, number, plan, rows};
use crate::plans::{delta, dp_accounting_orders, dp_sgd, epsilon, gaussian, noise, opacus_orders, order, rate};

#[test]
fn tfp_statement() {
    for row in rows("tfp_statement") {
        let at = delta(number(&row, "delta"));
        let once = gaussian(number(&row, "sigma")).repeated(row["steps_once"].as_u64().unwrap());
        let steps = row["steps_poisson"].as_u64().unwrap();
        let poisson = dp_sgd(number(&row, "sigma"), number(&row, "q_example"), steps);
        let answers = if row["accountant"] == "RDP" {
            let rdp = Rdp::with_orders(Relation::AddRemove, dp_accounting_orders());
            [once, poisson].map(|event| rdp.epsilon(&event, at).unwrap().upper())
        } else {
            let tight = Moments::default().epsilon(&poisson, at).unwrap();
            [Analytic::default().epsilon(&once, at).unwrap().upper(), tight.upper()]
        };
        println!("{answers:?} {row}");
        close(&row, answers[0], number(&row, "epsilon_each_once_per_epoch"));
        close(&row, answers[1], number(&row, "epsilon_poisson"));
    }
}

#[test]
fn tfp_user_level() {
    for row in rows("tfp_user_level").iter().filter(|row| row["max_examples_per_user"] == 2) {
        let at = delta(number(row, "delta"));
        // Two examples, once per epoch: a sum of sensitivity 2.
        let once = gaussian(0.5 * number(row, "sigma")).repeated(5);
        close(row, Analytic::default().epsilon(&once, at).unwrap().upper(), number(row, "epsilon_each_once_per_epoch"));
        // Two examples sampled each on its own. Renyi accounting is valid here, and looser than the published value.
        let mixture = GaussianMixture::binomial(noise(number(row, "sigma")), rate(0.0064), 2).unwrap();
        let got = Rdp::default().epsilon(&Event::GaussianMixture(mixture).repeated(782), at).unwrap().upper();
        println!("{got} {row}");
        let want = number(row, "epsilon_poisson");
        assert!(got > want - 0.0005 && got < 1.4 * want, "{got} {row}");
    }
}

#[test]
fn tfp_example_privacy() {
    for row in rows("tfp_example_privacy") {
        let delta = delta(number(&row, "delta"));
        let want = number(&row, "epsilon");
        if row["accountant"] == "RDP" {
            let rdp = Rdp::with_orders(Relation::AddRemove, dp_accounting_orders());
            let got = rdp.epsilon(&plan(&row), delta).unwrap().upper();
            if number(&row, "q") == 1.0 {
                close(&row, got, want);
            } else {
                // That tool overestimates the divergence at its best order 4.4 (see `golden`): ours is just below.
                assert!(got < want && got > 0.9999 * want, "{got} {row}");
            }
        } else if number(&row, "q") == 1.0 {
            close(&row, Analytic::default().epsilon(&plan(&row), delta).unwrap().upper(), want);
        } else {
            close(&row, Moments::default().epsilon(&plan(&row), delta).unwrap().upper(), want);
        }
    }
}

#[test]
fn docs() {
    for row in rows("docs") {
        let (n, batch) = (number(&row, "n"), number(&row, "batch"));
        let steps = (number(&row, "epochs") * n / batch).floor() as u64;
        let event = dp_sgd(number(&row, "sigma"), batch / n, steps);
        let at = number(&row, "delta");
        // These tutorials converted by epsilon = D + ln(1/delta)/(order - 1) (Mironov 2017), on this grid.
        let (mut least, mut best) = (f64::INFINITY, 0.0);
        for order in opacus_orders() {
            let a = order.get();
            let value = Rdp::default().divergence(&event, order).unwrap() - at.ln() / (a - 1.0);
            if value < least {
                (least, best) = (value, a);
            }
        }
        println!("{least} at {best} {row}");
        close(&row, least, number(&row, "epsilon"));
        if let Some(published) = row["order"].as_f64() {
            assert_eq!(best, published, "{row}");
        }
        // The tight conversion is better, and says no less than the truth.
        let today = Rdp::default().epsilon(&event, delta(at)).unwrap().upper();
        let truth = Moments::default().epsilon(&event, delta(at)).unwrap();
        assert!(today < least && truth.upper() < today, "{today} {truth:?} {row}");
    }
}

#[test]
fn jax_regression() {
    for row in rows("jax_regression") {
        let bound = Moments::default().epsilon(&plan(&row), delta(number(&row, "delta"))).unwrap();
        println!("{bound:?} {row}");
        close(&row, bound.upper(), number(&row, "epsilon"));
    }
}

#[test]
fn must_not_fail() {
    let mut checked = 0;
    for row in rows("must_not_fail") {
        let value = |key: &str| row[key].as_f64();
        let at = delta(value("delta").unwrap_or(1e-5));
        let steps = row["steps"].as_u64().unwrap_or(1);
        match (value("q"), value("sigma"), value("target_epsilon")) {
            (Some(q), Some(z), None) => {
                let bound = Rdp::default().epsilon(&dp_sgd(z, q, steps), at).unwrap();
                assert!(bound.upper().is_finite() && bound.upper() > 0.0, "{bound:?} {row}");
                let (from, to) = match row["orders"].as_str().map(|orders| orders.split_once("..").unwrap()) {
                    Some((from, to)) => (from.parse::<f64>().unwrap(), to.parse::<f64>().unwrap()),
                    None => (1.01, 300.0),
                };
                let mut last = 0.0;
                for k in 0..=20 {
                    let a = from + (to - from) * f64::from(k) / 20.0;
                    let divergence = Rdp::default().divergence(&dp_sgd(z, q, steps), order(a)).unwrap();
                    assert!(divergence.is_finite() && divergence >= last, "order {a}: {divergence} {row}");
                    last = divergence;
                }
            }
            (Some(q), None, Some(target)) => {
                let plan = |z| Event::gaussian(z).poisson_sampled(rate(q)).repeated(steps);
                let answer = calibrate::noise_multiplier(&Rdp::default(), plan, epsilon(target), at).unwrap();
                assert!(answer.bound.upper() <= target && answer.slack < 1e-3 * target, "{answer:?} {row}");
            }
            (None, None, None) => {
                // A Gaussian calibrated to a tiny epsilon, released n times.
                let n = row["n"].as_u64().unwrap();
                let plan = |z| Event::gaussian(z).repeated(n);
                let target = epsilon(number(&row, "epsilon"));
                let answer = calibrate::noise_multiplier(&Analytic::default(), plan, target, at).unwrap();
                assert!(answer.bound.upper() <= target.get(), "{answer:?} {row}");
            }
            _ => panic!("a row of a new form: {row}"),
        }
        checked += 1;
    }
    println!("must_not_fail: {checked} checked");
}

#[test]
fn prv_upper() {
    for row in rows("prv_upper") {
        let bound = Moments::default().epsilon(&plan(&row), delta(number(&row, "delta"))).unwrap();
        let truth = number(&row, "epsilon_true");
        assert!((bound.upper() - truth).abs() < number(&row, "tol_abs"), "{bound:?} {row}");
        // That tool's upper bound is one, by its own error of 0.01.
        let published = number(&row, "epsilon_upper") - bound.upper();
        assert!((0.0..=number(&row, "eps_error") + 0.001).contains(&published), "{published} {row}");
    }
}

#[test]
fn gdp_clt() {
    for row in rows("gdp_clt") {
        // The central limit theorem understates: its whole range lies below what is certain.
        let bound = Moments::default().epsilon(&plan(&row), delta(number(&row, "delta"))).unwrap();
        assert!(bound.lower() > row["epsilon_between"][1].as_f64().unwrap() + 0.1, "{bound:?} {row}");
    }
}
