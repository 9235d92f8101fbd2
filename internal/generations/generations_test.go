package generations

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestTheOldestAreForgotten(t *testing.T) {
	var m Map[int, int]
	for n := range 100 {
		m.Put(n, -n, 10)
		for back := range min(n, 9) {
			if v, ok := m.Get(n - back); !ok || v != back-n {
				t.Fatalf("%d is %v after %d", n-back, v, n)
			}
		}
		if _, ok := m.Get(n - 20); ok || m.Len() > 20 {
			t.Fatalf("%d are kept after %d", m.Len(), n)
		}
	}
	m.Put(95, 1, 10)
	if v, _ := m.Get(95); v != 1 {
		t.Errorf("95 is %d, which was put before", v)
	}
	m.Delete(95)
	if _, ok := m.Get(95); ok {
		t.Error("95 is there after Delete")
	}
}

func TestEachLivesForOneToTwoLives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var m Map[int, int]
		const life = 10
		at := map[int]time.Time{}
		for n := range 100 {
			m.Put(n, n, 1000)
			at[n] = time.Now()
			if n == 50 { // nothing comes for so long that both halves are old
				time.Sleep(3 * life * time.Second)
			}
			time.Sleep(time.Second)
			m.Age(life * time.Second)
			for key, put := range at {
				age := time.Since(put)
				if _, ok := m.Get(key); ok != (age <= life*time.Second) && (age <= life*time.Second || age > 2*life*time.Second) {
					t.Fatalf("%d is there: %v after %v", key, ok, age)
				}
			}
		}
	})
}
