-- What Git says about spec.suspend comes back with the next sync.
obj.spec.suspend = nil
return obj
