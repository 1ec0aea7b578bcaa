# The trainings behind docs/results.md, one after the other; `make results SOURCE=DIR` calls this. DIR holds the photos
# of the benchmark split, laid out like the bucket, with labels.csv. What is done stays done; a killed one goes on.
# Recipes that follow the baseline look for it in runs/: another RUNS needs its bundle there, too.
BIN ?= .venv/bin
RUNS ?= runs
SOURCE ?=
DATA ?= $(RUNS)/baseline/data
# A table of right and wrong records (columns id, split, record_is_right, error, record), if there is one.
VERIFICATION ?=

EARLIER := resnet50-sgd-0769 resnet50-sgd-0652 resnet50-frozen-adam resnet50-undersample resnet50-crop-raw \
  resnet34-scratch
NAMES := baseline quick again fast $(EARLIER)
reports = $(patsubst %,$(RUNS)/%/report/metrics.json,$(1))

vpath %.toml recipes recipes/research recipes/research/earlier

.PHONY: results
.SECONDARY:
results: $(call reports,$(NAMES)) $(RUNS)/champion/bins/bins.json $(RUNS)/champion/policy/policy.json
	@$(BIN)/python tools/results.py $(RUNS) $(NAMES)

# The first brings the photos; the others share them.
$(RUNS)/baseline/report/metrics.json: recipes/baseline.toml
	@$(BIN)/bintally pipeline run $< --source "$(SOURCE)" --workspace $(RUNS)/baseline
	@touch $@

$(RUNS)/%/run/run.json: %.toml
	@echo "== $*"
	@$(BIN)/bintally train $< --data $(DATA) --out $(@D)
	@touch $@

$(RUNS)/%/bundle/card.json: $(RUNS)/%/run/run.json
	@$(BIN)/bintally export $(<D) --data $(DATA) --out $(@D)

$(RUNS)/%/report/metrics.json: $(RUNS)/%/bundle/card.json
	@$(BIN)/bintally evaluate $(<D) --data $(DATA) --out $(@D) --counts 1-5

# What ships: one run counts, another compares.
$(RUNS)/champion/bundle/card.json: recipes/champion.toml $(RUNS)/again/run/run.json $(RUNS)/bins/run/run.json
	@$(BIN)/bintally export $(RUNS)/again/run --data $(DATA) --recipe $< --out $(@D)

# Photos beside earlier ones, bins over time, records.
$(RUNS)/%/bins/bins.json: $(RUNS)/%/bundle/card.json
	@$(BIN)/bintally evaluate-bins $(<D) --data $(DATA) --out $(@D) $(if $(VERIFICATION),--verification $(VERIFICATION))

# Which records it may accept: fitted to val, judged on test.
$(RUNS)/%/bundle/acceptance.json: $(RUNS)/%/bundle/card.json
	@$(BIN)/bintally policy fit --bundle $(<D) --data $(DATA)

$(RUNS)/%/policy/policy.json: $(RUNS)/%/bundle/acceptance.json
	@$(BIN)/bintally policy check --bundle $(<D) --data $(DATA) --out $(@D)

# Those that follow the baseline's network; and the one that follows these.
$(RUNS)/bins/run/run.json: $(RUNS)/again/run/run.json $(RUNS)/fast/run/run.json
$(RUNS)/again/run/run.json $(RUNS)/fast/run/run.json: $(RUNS)/baseline/report/metrics.json
# All learn from its photos.
$(patsubst %,$(RUNS)/%/run/run.json,quick $(EARLIER)): | $(RUNS)/baseline/report/metrics.json
