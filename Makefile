# Short names for course.py, which does the work.
PYTHON ?= python3

.PHONY: course test demo soak
course:
	$(PYTHON) course.py
test:
	$(PYTHON) course.py test
demo:
	$(PYTHON) course.py demo
soak:
	$(PYTHON) course.py soak
