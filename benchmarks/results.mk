# `make results`: trains what is missing, compares transductive methods on it, and writes RESULTS.md. Everything lies in
# $(RESULTS_RUN) and is gone on from; with QUICK=1 a part of the settings is measured on fewer episodes, into files of
# its own, and held against the recorded comparison.
RESULTS_RUN ?= runs/cifar_fs
# Folder of the data set's archive; empty: downloaded.
RESULTS_DATA ?=
# The SIB models to compare: name=FOLDER,... Those of the flagfiles if left out.
MODELS ?=

RECIPES := train/flagfiles/cifar_fs
RECORDED := benchmarks/recorded/cifar_fs
FEATURES := $(RESULTS_RUN)/features
TUNED := $(RESULTS_RUN)/sweeps/tuned.json
SWEEPS := $(RESULTS_RUN)/sweeps$(if $(QUICK),_quick)
PICTURES = --cache_dir=$(RESULTS_RUN)/data $(addprefix --data_dir=,$(RESULTS_DATA))
TRAINED_MODELS := joint per_class mixture
comma := ,
empty :=
COMPARED := $(or $(MODELS),$(subst $(empty) ,$(comma),$(strip $(foreach model,$(TRAINED_MODELS),$(model)=$(RESULTS_RUN)/$(model)))))
# Metrics of each model at its shots: "mixture-1" is metrics/mixture-1.json, and mixture-1-dirichlet.json beside it.
MEASURED := joint-1 joint_5shot-5 per_class-1 per_class_5shot-5 mixture-1 mixture-5
METRICS := $(MEASURED:%=$(RESULTS_RUN)/metrics/%.json)

.PHONY: results
results: install $(FEATURES)/manifest.json $(if $(MODELS),,$(TRAINED_MODELS:%=$(RESULTS_RUN)/%/calibration.json)) $(if $(QUICK),,$(TUNED) $(METRICS))
	$(BIN)/python -m benchmarks.sweeps --features_dir=$(FEATURES) --models=$(COMPARED) --output_dir=$(SWEEPS) $(addprefix --tuned=,$(wildcard $(TUNED))) $(if $(QUICK),--quick)
	$(if $(QUICK),,$(BIN)/python -m benchmarks.paper_rows --features_dir=$(FEATURES) --output_dir=$(RESULTS_RUN)/rows)
	$(BIN)/python -m benchmarks.results --sweeps_dir=$(SWEEPS) $(if $(QUICK),--output=$(SWEEPS)/RESULTS.md --figures_dir=$(SWEEPS)/figures,$(patsubst %,--rows_dir=%,$(RESULTS_RUN)/rows $(EXTRA_ROWS)) $(addprefix --bayes_dir=,$(wildcard $(RESULTS_RUN)/bayes)) $(addprefix --unseen_dir=,$(wildcard $(RESULTS_RUN)/unseen)) $(METRICS:%=--metrics=%) $(patsubst %.json,--metrics=%-dirichlet.json,$(METRICS)) $(EXTRA_SWEEPS:%=--sweeps_dir=%))
	$(if $(QUICK),$(BIN)/python -m benchmarks.agreement --first=$(SWEEPS) --second=$(RECORDED),mkdir -p $(RECORDED) && cp $(SWEEPS)/*.json $(RECORDED) && rm -f $(RECORDED)/tuned.json)

$(FEATURES)/manifest.json: | install
	$(BIN)/python -m train.pretrain --flagfile=$(RECIPES)/pretrain $(PICTURES) --output_dir=$(RESULTS_RUN)/backbone
	$(BIN)/python -m train.extract_features --flagfile=$(RECIPES)/extract_features $(PICTURES) --backbone_dir=$(RESULTS_RUN)/backbone --output_dir=$(FEATURES)

# The last thing that is written into a model's folder; "mixture" is calibrated for 1 to 5 shots.
$(RESULTS_RUN)/%/calibration.json: $(FEATURES)/manifest.json | install
	$(BIN)/python -m train.meta_train --flagfile=$(RECIPES)/meta_train_$* --features_dir=$(FEATURES) --output_dir=$(@D)
	$(BIN)/python -m train.calibrate --features_dir=$(FEATURES) --model_dir=$(@D) --shot=$(if $(findstring mixture,$*),1-5,$(if $(findstring 5shot,$*),5,1))

$(TUNED): $(FEATURES)/manifest.json | install
	$(BIN)/python -m benchmarks.tune_peers --features_dir=$(FEATURES) --output=$@

define measure
$(RESULTS_RUN)/metrics/$(1)-$(2).json: $(RESULTS_RUN)/$(1)/calibration.json | install
	$(BIN)/python -m train.evaluate --features_dir=$(FEATURES) --model_dir=$(RESULTS_RUN)/$(1) --shot=$(2) --unknown_classes=5 --query_distribution=dirichlet --output=$$(@:.json=-dirichlet.json)
	$(BIN)/python -m train.evaluate --features_dir=$(FEATURES) --model_dir=$(RESULTS_RUN)/$(1) --shot=$(2) --unknown_classes=5 --output=$$@
endef
$(foreach pair,$(MEASURED),$(eval $(call measure,$(word 1,$(subst -, ,$(pair))),$(word 2,$(subst -, ,$(pair))))))
