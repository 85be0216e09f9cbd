"""A host is changed: handed its step, taken out of service meanwhile, put back where its proof does not come."""
