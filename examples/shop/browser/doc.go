// Package browser drives the example shop with Chromium. It is a module of its own, so that
// nobody else depends on what drives the browser.
package browser
