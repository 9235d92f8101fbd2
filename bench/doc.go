// Package bench measures Strata beside what a user would take instead, and checks many
// nodes at once. It is a module of its own: what it depends on is nobody else's.
package bench
