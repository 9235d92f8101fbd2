// Nodes checks many node processes on one Redis, as Meta's Polaris does with caches.
package main
