# `make head`: the heads that ship, from nothing but data, into $(HEAD_RUN), from where `make ship` takes them to
# sib_tf/heads. An hour or two on two cores, of which the two trainings take half; what is there is gone on from.
HEAD_RUN ?= runs/heads
# Folders of the archives of CIFAR-100 and Omniglot; empty: downloaded.
CIFAR ?=
OMNIGLOT ?=
# Weights of keras.applications' MobileNet of width 0.25 at 224 pixels, without the top; empty: downloaded.
MOBILENET ?=

HEAD_DATA = --cache_dir=$(HEAD_RUN)/data
PICTURES_cifar_fs = --dataset=cifar_fs $(addprefix --data_dir=,$(CIFAR))
PICTURES_omniglot = --dataset=omniglot $(addprefix --data_dir=,$(OMNIGLOT))
PICTURES_glyphs = --dataset=glyphs
# Data sets, each under some backbones: no photographs of ImageNet's classes, no PACS. CIFAR-FS comes twice: its classes
# alone have pictures enough for piles that are very uneven.
HEAD_LARGE := cifar_fs-conv4_64 cifar_fs-mobilenet cifar_fs-lite0
HEAD_SMALL := omniglot-conv4_64 omniglot-mobilenet glyphs-lite0 glyphs-conv4_32
HEAD_CACHES := $(HEAD_LARGE) $(HEAD_LARGE) $(HEAD_SMALL)
HEAD_FEATURES = $(HEAD_CACHES:%=$(HEAD_RUN)/features/%)
SHIPPED := general balanced

.PHONY: head ship
head: $(SHIPPED:%=$(HEAD_RUN)/%.tflite)

$(HEAD_RUN)/%.tflite: $(HEAD_RUN)/%/calibration.json
	$(BIN)/python -m export.tflite --head_only --feature_dim=any --shapes=dynamic --model_dir=$(HEAD_RUN)/$* --output=$@

$(HEAD_RUN)/%/calibration.json: $(HEAD_FEATURES:%=%/manifest.json) | install
	$(BIN)/python -m train.meta_train --flagfile=train/flagfiles/heads/$* $(HEAD_FEATURES:%=--features_dir=%) --output_dir=$(@D)
	$(BIN)/python -m train.calibrate --flagfile=train/flagfiles/heads/calibrate_$* $(foreach cache,$(HEAD_LARGE) $(HEAD_SMALL),--features_dir=$(HEAD_RUN)/features/$(cache)) --model_dir=$(@D)

.SECONDEXPANSION:
.PRECIOUS: $(HEAD_RUN)/features/%/manifest.json $(HEAD_RUN)/%/calibration.json
$(HEAD_RUN)/features/%/manifest.json: $(HEAD_RUN)/backbones/$$(lastword $$(subst -, ,$$*))/config.json
	$(BIN)/python -m train.extract_features $(HEAD_DATA) $(PICTURES_$(firstword $(subst -, ,$*))) --backbone_dir=$(<D) --output_dir=$(@D)

$(HEAD_RUN)/backbones/conv4_64/config.json: | install
	$(BIN)/python -m train.pretrain --flagfile=train/flagfiles/cifar_fs/pretrain_conv4_64 --epochs=12 $(HEAD_DATA) $(addprefix --data_dir=,$(CIFAR)) --output_dir=$(@D)
$(HEAD_RUN)/backbones/conv4_32/config.json: | install
	$(BIN)/python -m train.pretrain --flagfile=train/flagfiles/demo/pretrain --schedule=cosine --epochs=9 --width=32 $(HEAD_DATA) --output_dir=$(@D)
$(HEAD_RUN)/backbones/lite0/config.json: | install
	$(BIN)/python -m train.import_backbone --source=efficientnet_lite0 --output_dir=$(@D)
$(HEAD_RUN)/backbones/mobilenet/config.json: | install
	$(BIN)/python -m train.import_backbone --source=keras_applications:MobileNet --alpha=0.25 --image_size=224 $(addprefix --weights=,$(MOBILENET)) --output_dir=$(@D)

# What the package holds: the files, and a list of their digests.
ship: head
	for head in $(SHIPPED); do mkdir -p sib_tf/heads/$$head && cp $(HEAD_RUN)/$$head.tflite sib_tf/heads && cd $(HEAD_RUN)/$$head && cp config.json best.keras calibration.json history.csv $(CURDIR)/sib_tf/heads/$$head && cd $(CURDIR) || exit 1; done
	$(BIN)/python -m train.list_heads
