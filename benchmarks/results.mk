# `make results`: trains what is missing, measures it, and writes RESULTS.md; a day on two cores. Everything lies in
# $(RESULTS_RUN), by data set and backbone, and is gone on from. With QUICK=1 a part of the comparison of transductive
# methods is measured on fewer episodes, into folders of its own, and held against the recorded one.
RESULTS_RUN ?= runs/results
# Folder of mini-ImageNet, which is nobody's to give; empty: left out. CIFAR and OMNIGLOT (train/heads.mk) are those of
# the others, which are downloaded otherwise.
MINI_IMAGENET ?=
# The list of data sets (benchmarks/README.md) for what the shipped head has never seen; empty: that section is left out.
UNSEEN ?=
# More flags of train.pretrain, such as --precision=bfloat16.
PRETRAIN ?=

PHOTOGRAPHS := cifar_fs $(if $(MINI_IMAGENET)$(wildcard $(RESULTS_RUN)/mini_imagenet),mini_imagenet)
FOLDER_cifar_fs = $(CIFAR)
FOLDER_omniglot = $(OMNIGLOT)
FOLDER_mini_imagenet = $(MINI_IMAGENET)

# Heads that are trained for a comparison, and those, with their shots, whose accuracy and confidence are measured:
# metrics/mixture-1.json, and mixture-1-dirichlet.json beside it.
COMPARED := joint per_class balanced uneven mixture
MEASURED := joint-1 joint_5shot-5 per_class-1 per_class_5shot-5 balanced-1 balanced_5shot-5 mixture-1 mixture-5
METRICS = $(MEASURED:%=$(RESULTS_RUN)/$(1)/conv4_64/metrics/%.json)
SWEEPS = $(RESULTS_RUN)/$(1)/conv4_64/sweeps$(if $(QUICK),_quick)
# Folders whose features rows of the paper's table are measured on: by views of the training pictures too, on CIFAR-FS.
ROWS := $(foreach set,$(PHOTOGRAPHS),$(RESULTS_RUN)/$(set)/conv4_64 $(RESULTS_RUN)/$(set)/conv4_128)
# Of the same backbones, averaged over views of every picture.
ROWS += $(ROWS:%=%-averaged)
# Wide networks' features, where there are some: their backbones take an accelerator (train.pretrain_torch).
ROWS += $(patsubst %/features/manifest.json,%,$(wildcard $(RESULTS_RUN)/*/wrn/features/manifest.json))
VIEWS := $(RESULTS_RUN)/cifar_fs/conv4_64-4views $(RESULTS_RUN)/cifar_fs/conv4_64-16views
BAYES := $(RESULTS_RUN)/cifar_fs/conv4_64/bayes

.PHONY: results results-rows results-unseen compare-omniglot $(PHOTOGRAPHS:%=compare-%)
results: $(PHOTOGRAPHS:%=compare-%) $(if $(QUICK),,compare-omniglot results-rows $(if $(UNSEEN),results-unseen))
	$(if $(QUICK),,$(BIN)/python -m benchmarks.results $(patsubst %,--rows_dir=%/rows,$(ROWS) $(VIEWS)) --bayes_dir=$(BAYES) $(addprefix --unseen_dir=,$(wildcard $(RESULTS_RUN)/unseen)) $(foreach set,$(PHOTOGRAPHS),$(patsubst %,--metrics=%,$(call METRICS,$(set)) $(patsubst %.json,%-dirichlet.json,$(call METRICS,$(set))))) $(foreach set,$(PHOTOGRAPHS) omniglot,--sweeps_dir=$(call SWEEPS,$(set))))

results-rows: $(patsubst %,%/features/manifest.json,$(ROWS) $(VIEWS))
	$(foreach folder,$(ROWS),$(BIN)/python -m benchmarks.paper_rows --features_dir=$(folder)/features --output_dir=$(folder)/rows && )true
	$(foreach folder,$(VIEWS),$(BIN)/python -m benchmarks.paper_rows --features_dir=$(folder)/features --num_steps=3 --output_dir=$(folder)/rows && )true
	$(BIN)/python -m benchmarks.bayes_rows --features_dir=$(dir $(BAYES))features --steps=20000 --output_dir=$(BAYES)

results-unseen: $(RESULTS_RUN)/cifar_fs/conv4_64/features/manifest.json
	$(BIN)/python -m benchmarks.unseen --data_sets=$(UNSEEN) --tuning_dir=$(<D) --episodes=80 --output_dir=$(RESULTS_RUN)/unseen

# The comparison of a data set of photographs. What it found is kept, for QUICK=1 to agree with.
define compare
compare-$(1): $(RESULTS_RUN)/$(1)/conv4_64/features/manifest.json $(COMPARED:%=$(RESULTS_RUN)/$(1)/conv4_64/%/calibration.json) $(if $(QUICK),,$(RESULTS_RUN)/$(1)/conv4_64/tuned.json $(call METRICS,$(1)))
	$(BIN)/python -m benchmarks.sweeps --features_dir=$$(<D) --models=$(subst $(empty) ,$(comma),$(foreach head,$(COMPARED),$(head)=$(RESULTS_RUN)/$(1)/conv4_64/$(head)) general=general) $(if $(QUICK),--quick $(addprefix --tuned=,$(wildcard $(RESULTS_RUN)/$(1)/conv4_64/tuned.json)),--tuned=$(RESULTS_RUN)/$(1)/conv4_64/tuned.json) --output_dir=$(call SWEEPS,$(1))
	$(if $(QUICK),$(BIN)/python -m benchmarks.agreement --first=$(call SWEEPS,$(1)) --second=benchmarks/recorded/$(1),mkdir -p benchmarks/recorded/$(1) && cp $(call SWEEPS,$(1))/*.json benchmarks/recorded/$(1))
$(foreach measured,$(MEASURED),$(call measure,$(RESULTS_RUN)/$(1)/conv4_64,$(word 1,$(subst -, ,$(measured))),$(word 2,$(subst -, ,$(measured)))))
endef

define measure

$(1)/metrics/$(2)-$(3).json: $(1)/$(2)/calibration.json
	$(BIN)/python -m train.evaluate --features_dir=$(1)/features --model_dir=$(1)/$(2) --shot=$(3) --unknown_classes=5 --query_distribution=dirichlet --output=$$(@:.json=-dirichlet.json)
	$(BIN)/python -m train.evaluate --features_dir=$(1)/features --model_dir=$(1)/$(2) --shot=$(3) --unknown_classes=5 --output=$$@
endef

comma := ,
empty :=
$(foreach set,$(PHOTOGRAPHS),$(eval $(call compare,$(set))))

# No constants are tuned on Omniglot, whose classes have too few pictures for most settings.
compare-omniglot: $(RESULTS_RUN)/omniglot/conv4_64/features/manifest.json $(RESULTS_RUN)/omniglot/conv4_64/5to20way/calibration.json
	$(BIN)/python -m benchmarks.sweeps --features_dir=$(<D) --models=5to20way=$(RESULTS_RUN)/omniglot/conv4_64/5to20way,general=general --slow_episodes=50 --output_dir=$(call SWEEPS,omniglot)

.SECONDEXPANSION:
.PRECIOUS: $(RESULTS_RUN)/%/features/manifest.json $(RESULTS_RUN)/%/calibration.json
# In what follows * is DATA_SET/BACKBONE.
$(RESULTS_RUN)/%/features/manifest.json: | install
	$(BIN)/python -m train.pretrain --flagfile=train/flagfiles/$(subst /,/pretrain_,$*) $(call pictures,$(*D)) $(PRETRAIN) --output_dir=$(RESULTS_RUN)/$*/backbone
	$(BIN)/python -m train.extract_features --flagfile=train/flagfiles/$(*D)/extract_features $(call pictures,$(*D)) --backbone_dir=$(RESULTS_RUN)/$*/backbone --output_dir=$(@D)

$(RESULTS_RUN)/cifar_fs/conv4_64-%views/features/manifest.json: $(RESULTS_RUN)/cifar_fs/conv4_64/features/manifest.json
	$(BIN)/python -m train.extract_features --flagfile=train/flagfiles/cifar_fs/extract_features $(call pictures,cifar_fs) --views=$* --backbone_dir=$(RESULTS_RUN)/cifar_fs/conv4_64/backbone --output_dir=$(@D)

$(RESULTS_RUN)/%-averaged/features/manifest.json: $(RESULTS_RUN)/%/features/manifest.json
	$(BIN)/python -m train.average_views --backbone_dir=$(RESULTS_RUN)/$*/backbone --output_dir=$(RESULTS_RUN)/$*-averaged/backbone
	$(BIN)/python -m train.extract_features --flagfile=train/flagfiles/$(*D)/extract_features $(call pictures,$(*D)) --backbone_dir=$(RESULTS_RUN)/$*-averaged/backbone --output_dir=$(@D)

pictures = --cache_dir=$(RESULTS_RUN)/data $(addprefix --data_dir=,$(FOLDER_$(1)))

# An interrupted target is removed; what is tuned by then is gone on from.
$(RESULTS_RUN)/%/tuned.json: $(RESULTS_RUN)/%/features/manifest.json
	$(BIN)/python -m benchmarks.tune_peers --features_dir=$(<D) --output=$(@D)/tuning.json
	mv $(@D)/tuning.json $@

# Here * is DATA_SET/BACKBONE/HEAD. A head of 5 shots has the flags of that of one; "mixture" is calibrated for all of its.
$(RESULTS_RUN)/%/calibration.json: $$(dir $$(@D))features/manifest.json
	$(BIN)/python -m train.meta_train --flagfile=train/flagfiles/specialists/meta_train_$(patsubst %_5shot,%,$(*F)) $(if $(findstring 5shot,$*),--shot=5) --features_dir=$(<D) --output_dir=$(@D)
	$(BIN)/python -m train.calibrate --features_dir=$(<D) --model_dir=$(@D) --shot=$(if $(findstring mixture,$*),1-5,$(if $(findstring 5shot,$*),5,1))$(if $(findstring uneven,$*), --balanced_fraction=0)
