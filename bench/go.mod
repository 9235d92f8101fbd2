module github.com/gf-strata/strata/bench

go 1.25

require github.com/gf-strata/strata v0.0.0

replace github.com/gf-strata/strata => ../
