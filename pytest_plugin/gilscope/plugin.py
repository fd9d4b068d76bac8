"""The pytest plugin: registered in every pytest run, and doing nothing until it is asked to.

It must not import `gilscope._native`: a run that does not use gilscope loads no extension module.
"""
