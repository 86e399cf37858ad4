"""The command line: options, terminal output, signals, and one module for each verb in commands/.

In: arguments. Out: data on stdout, progress and errors on stderr, an exit code. The only wing that
prints. Open main.py first, then the verb in commands/.
"""
