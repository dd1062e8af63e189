def memory(g,e): return iter(())
def requests(g,e): return iter(())
