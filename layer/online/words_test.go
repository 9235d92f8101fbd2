package online

import (
	"reflect"
	"regexp"
	"testing"
)

// Chinese texts have Chinese punctuation, and both languages have all texts.
func TestTheTextsOfBothLanguages(t *testing.T) {
	half := regexp.MustCompile(`\p{Han} ?[,.;:?!()]|[,.;:?!()] ?\p{Han}`)
	zh, en := reflect.ValueOf(*chinese), reflect.ValueOf(*english)
	for n := range zh.NumField() {
		name := zh.Type().Field(n).Name
		if zh.Field(n).String() == "" || en.Field(n).String() == "" {
			t.Errorf("%s is missing in one language", name)
		}
		if found := half.FindString(zh.Field(n).String()); found != "" {
			t.Errorf("%s has half-width punctuation: %q", name, found)
		}
	}
	if found := regexp.MustCompile(`\.Words\.\w+\}\}[,.;:?!()]`).FindString(page); found != "" {
		t.Errorf("the page has punctuation of one language: %q", found)
	}
}
