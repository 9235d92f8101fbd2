package layer

import "github.com/gogf/gf/v2/os/gsession"

// As finds the outermost layer of a chain that is a T, the chain itself and its
// store included:
//
//	store, ok := layer.As[*redisstore.Storage](chain)
//
// A Stack knows all of its layers, so that a decorator without Unwrap hides none.
// Elsewhere As follows Unwrap() gsession.Storage.
func As[T any](s gsession.Storage) (T, bool) {
	for s != nil {
		if t, ok := s.(T); ok {
			return t, true
		}
		if stack, ok := s.(*Stack); ok {
			for _, l := range stack.parts().layers {
				if t, ok := As[T](l); ok {
					return t, true
				}
			}
			break
		}
		wrapper, ok := s.(interface{ Unwrap() gsession.Storage })
		if !ok {
			break
		}
		s = wrapper.Unwrap()
	}
	var none T
	return none, false
}
