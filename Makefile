# Each target sets up what it needs; `make` alone lists them.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
export QUESTION TAG
# the matrices here are small: a second thread of BLAS costs more than it saves
export OPENBLAS_NUM_THREADS := 1

.DEFAULT_GOAL := help
.PHONY: help demo notebooks docs models providers faults terminal bench bench-many scale soak kills record test test-servers test-migrate test-engines test-phoenix coverage lint types format bare dist smoke tag workflows lowest clean

# the oldest frameworks that the extras allow, with a pydantic of their time
LOWEST := langchain-core==1.0.0 llama-index-core==0.13.0 haystack-ai==2.16.0 'pydantic==2.11.*'
LOWEST_READY := .venv/lowest/.ready
# the oldest of all others, in an environment of its own: the tools of `dev` want a newer httpx
LOWEST_CORE := 'httpx[http2,socks]==0.27.0' orjson==3.10.0 pydantic==2.8.0 \
	bm25s==0.3.11 click==8.2.0 fastembed==0.7.0 httpx-aiohttp==0.2.0 ir-measures==0.4.3 jinja2==3.1.0 \
	numpy==1.26.0 opentelemetry-api==1.30.0 pillow==11.0.0 PyStemmer==3.0.0 rich==13.9.0 scipy==1.15.0
LOWEST_CORE_TOOLS := httpx2 hypercorn hypothesis pandas pytest pytest-asyncio pytest-recording trio trustme uvloop
LOWEST_CORE_TESTS := batch body_reader cassettes checkpoint circuit_breaker cli client connection_pool copies \
	errors evaluation evaluation_measures evaluation_report fields http_clients image_limits images many models \
	options partial rate_limit request response retry tls
LOWEST_CORE_READY := .venv/lowest-core/.ready
NOTEBOOKS_READY := .venv/notebooks/.ready
DOCS_READY := .venv/docs/.ready
BENCH_READY := .venv/bench/.ready
SERVERS_READY := .venv/servers/.ready
PHOENIX_READY := .venv/phoenix/.ready
SDKS := cohere isaacus mixedbread openrouter portkey-ai together voyageai zeroentropy
RELEASE_READY := .venv/release/.ready
PEERS := aiohttp cohere langchain-cohere litellm llama-index-postprocessor-cohere-rerank \
	llama-index-postprocessor-jinaai-rerank matplotlib openrouter portkey-ai together
# those that install without torch; some want other versions of an SDK than others
MIGRATE_langchain := flashrank langchain-classic langchain-cohere langchain-community \
	langchain-fireworks langchain-nvidia-ai-endpoints langchain-reranker langchain-voyageai
MIGRATE_llama-index := llama-index-llms-openai llama-index-postprocessor-cohere-rerank \
	llama-index-postprocessor-flashrank-rerank llama-index-postprocessor-jinaai-rerank \
	llama-index-postprocessor-nvidia-rerank llama-index-postprocessor-voyageai-rerank
MIGRATE_sdk := cohere litellm rerankers
MIGRATE_EXTRAS_langchain := langchain
MIGRATE_EXTRAS_llama-index := llama-index
MIGRATE_EXTRAS_sdk := local
MIGRATE_VENVS := langchain llama-index sdk
# each in an environment of its own; Spark also needs Java 17
ENGINES := daft dask ray spark
ENGINE_daft := daft
ENGINE_dask := dask[dataframe,distributed]
ENGINE_ray := ray[data] pandas
ENGINE_spark := pyspark pandas pyarrow
PIP_QUIET := -m pip install --quiet --disable-pip-version-check

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

# made anew when pyproject.toml changes; the version in __init__.py is read from the source
$(READY): pyproject.toml
	@echo "setting up .venv (once, a minute or two)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 ...")'
	@$(PYTHON) -m venv .venv
	@$(BIN)/python $(PIP_QUIET) --upgrade 'pip>=25.1'
	@$(BIN)/python $(PIP_QUIET) --editable '.[all]' --group dev --group agents --group deploy
	@touch $@

# its matrices are small: more threads would wait for each other
demo: $(READY) ## rerank what LangChain and LlamaIndex retrieve from Python's own documentation, and measure it
	@$(BIN)/python examples/demo.py

$(NOTEBOOKS_READY): pyproject.toml
	@$(PYTHON) -m venv .venv/notebooks
	@.venv/notebooks/bin/python $(PIP_QUIET) --upgrade 'pip>=25.1'
	@.venv/notebooks/bin/python $(PIP_QUIET) --editable '.[all]' --group notebooks
	@touch $@

notebooks: $(NOTEBOOKS_READY) ## execute every notebook and store what it shows
	@.venv/notebooks/bin/python notebooks/run.py

$(DOCS_READY): pyproject.toml
	@$(PYTHON) -m venv .venv/docs
	@.venv/docs/bin/python $(PIP_QUIET) --upgrade 'pip>=25.1'
	@.venv/docs/bin/python $(PIP_QUIET) --group docs
	@touch $@

# The notebooks become pages of docs/notebooks/ first, as they are stored: nothing is executed.
# Material says at each start that it is in maintenance; that is known
docs: $(DOCS_READY) ## build the site of docs/ into site/, without a network
	@rm -rf docs/notebooks
	@.venv/docs/bin/jupyter nbconvert --log-level WARN --to markdown --output-dir docs/notebooks notebooks/*.ipynb
	@NO_MKDOCS_2_WARNING=1 .venv/docs/bin/mkdocs build --strict
	@.venv/docs/bin/python scripts/search_index.py

models: $(READY) ## measure the local engines, and write docs/choose-a-model.md
	@$(BIN)/python scripts/choose_a_model.py

providers: $(READY) ## write the pages of docs/gateways/ and README's table from scripts/gateways/table.py
	@PYTHONPATH=scripts $(BIN)/python -m gateways.run

faults: $(READY) ## play every fault of the network and of gateways, and write docs/faults.md
	@PYTHONPATH=tests $(BIN)/python -m faults.run

terminal: $(READY) ## draw the pictures of docs/command-line.md, from a real terminal; needs tmux
	@PYTHONPATH=tests:scripts $(BIN)/python -m terminal

$(BENCH_READY): pyproject.toml Makefile
	@$(PYTHON) -m venv .venv/bench
	@.venv/bench/bin/python $(PIP_QUIET) --upgrade 'pip>=25.1'
	@.venv/bench/bin/python $(PIP_QUIET) --editable '.[all]' $(PEERS)
	@touch $@

bench: $(BENCH_READY) ## measure against every peer, on loopback, and write benchmarks/RESULTS.md
	@.venv/bench/bin/python -m benchmarks.run

bench-many: $(READY) ## measure runs of many calls against plain asyncio, on loopback
	@$(BIN)/python -m benchmarks.many

scale: $(READY) ## write the tables of docs/scale.md: cost and time of a thousand to a billion pairs
	@$(BIN)/python -m benchmarks.scale --write

soak: $(READY) ## call a server that fails in every way ten thousand times, in threads and on a loop
	@$(BIN)/python -m benchmarks.soak

kills: $(READY) ## kill runs that have a checkpoint 200 times at random, and print what was paid twice
	@PYTHONPATH=tests $(BIN)/python -m kills

record: $(READY) $(NOTEBOOKS_READY) ## record the cassettes again: live where there are keys, else from Prism
	@$(BIN)/python -m cassettes.record
	@PYTHONPATH=. .venv/notebooks/bin/python notebooks/record.py

# many tests start a Python of their own: each would compile the package again without __pycache__
test: $(READY) ## run every test
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest --numprocesses auto --dist loadgroup

.venv/migrate/%/.ready: pyproject.toml Makefile
	@$(PYTHON) -m venv .venv/migrate/$*
	@.venv/migrate/$*/bin/python $(PIP_QUIET) --upgrade 'pip>=25.1'
	@.venv/migrate/$*/bin/python $(PIP_QUIET) --editable '.[$(MIGRATE_EXTRAS_$*)]' pytest $(MIGRATE_$*)
	@touch $@

.PRECIOUS: .venv/migrate/%/.ready
test-migrate: $(MIGRATE_VENVS:%=.venv/migrate/%/.ready) ## run both sides of docs/migrate/, with the peers' packages
	@for name in $(MIGRATE_VENVS); do \
		PYTHONPATH=tests:scripts .venv/migrate/$$name/bin/python -m pytest -c tests/migrate/pytest.ini tests/migrate || exit 1; \
	done

# as below: what cannot be installed is tried again the next time
.venv/engines-%/.ready: pyproject.toml Makefile
	@$(PYTHON) -m venv .venv/engines-$*
	@.venv/engines-$*/bin/python $(PIP_QUIET) --upgrade 'pip>=25.1'
	@.venv/engines-$*/bin/python $(PIP_QUIET) --editable '.[local]' pytest $(foreach one,$(ENGINE_$*),'$(one)') && \
		touch $@ || echo "$* could not be installed; its tests are skipped"

.PRECIOUS: .venv/engines-%/.ready
test-engines: $(ENGINES:%=.venv/engines-%/.ready) ## test RerankBatch in Daft, Dask, Ray and Spark, on loopback
	@for name in $(ENGINES); do \
		test -e .venv/engines-$$name/.ready || { echo "$$name is skipped: it is not installed"; continue; }; \
		PYTHONPATH=$(CURDIR)/tests:$(CURDIR)/tests/engines .venv/engines-$$name/bin/python -m pytest \
			-c tests/engines/pytest.ini tests/engines/check_$$name.py || exit 1; \
	done

# what cannot be installed is tried again the next time, and until then its tests are skipped
$(SERVERS_READY): Makefile tests/servers/gateway/package.json
	@$(PYTHON) -m venv .venv/servers
	@mkdir -p .venv/servers/gateway && cp tests/servers/gateway/package.json .venv/servers/gateway
	@.venv/servers/bin/python $(PIP_QUIET) $(SDKS) && \
		npm install --prefix .venv/servers/gateway --no-audit --no-fund --loglevel=error >&2 && \
		touch $@ || echo "not everything could be installed; the tests of the rest are skipped"

test-servers: $(READY) $(SERVERS_READY) ## test against real servers and the vendors' own SDKs, on loopback
	$(BIN)/python -m pytest tests/servers

# what cannot be installed is tried again the next time
$(PHOENIX_READY): pyproject.toml Makefile
	@$(PYTHON) -m venv .venv/phoenix
	@.venv/phoenix/bin/python $(PIP_QUIET) --upgrade 'pip>=25.1'
	@.venv/phoenix/bin/python $(PIP_QUIET) --editable '.[tracing]' pytest arize-phoenix && \
		touch $@ || echo "Phoenix could not be installed"

# its gRPC port listens on all interfaces, whatever PHOENIX_HOST says: where Linux allows it, the
# test runs in a network of its own that has the loopback interface alone
test-phoenix: $(PHOENIX_READY) ## test spans in a real Arize Phoenix (600 MB, a minute or more to start)
	@test -e $(PHOENIX_READY)
	@run="$(CURDIR)/.venv/phoenix/bin/python -m pytest -c tests/phoenix/pytest.ini tests/phoenix"; \
	export PYTHONPATH=$(CURDIR)/tests; \
	if unshare --map-root-user --net ip link set lo up 2>/dev/null; then \
		unshare --map-root-user --net sh -c "ip link set lo up && exec $$run"; \
	else \
		echo "warning: port 16107 of Phoenix can be reached from outside while the test runs"; $$run; \
	fi

# not part of `test`: on Python 3.11 two threads that start at once can fail to install the tracer
coverage: $(READY) ## run every test and show which branches none of them takes
	$(BIN)/python -m pytest --numprocesses auto --dist loadgroup --cov --cov-report term

lint: $(READY) ## check style and formatting
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(READY) ## check types
	$(BIN)/mypy

format: $(READY) ## put code into form
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bare: ## check that the package works without any extra
	@$(PYTHON) -m venv --clear .venv/bare
	@.venv/bare/bin/python $(PIP_QUIET) .
	@.venv/bare/bin/python -I tests/installed.py

$(RELEASE_READY): pyproject.toml
	@$(PYTHON) -m venv .venv/release
	@.venv/release/bin/python $(PIP_QUIET) --upgrade 'pip>=25.1'
	@.venv/release/bin/python $(PIP_QUIET) --group release
	@touch $@

dist: $(RELEASE_READY) ## build wheel and sdist into dist/, check them and say what is inside
	@PYTHONPATH=scripts .venv/release/bin/python -m release.dist

smoke: $(RELEASE_READY) ## install the wheel in dist/ without and with each extra, and rank with each
	@PYTHONPATH=scripts .venv/release/bin/python -m release.smoke $(EXTRAS)

tag: $(RELEASE_READY) ## check that TAG may be released: the version in dist/, dated in CHANGELOG
	@PYTHONPATH=scripts .venv/release/bin/python -m release.tag

workflows: $(RELEASE_READY) ## check what GitHub runs, without asking GitHub
	@.venv/release/bin/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	@.venv/release/bin/check-jsonschema --builtin-schema vendor.dependabot .github/dependabot.yml
	@.venv/release/bin/zizmor --offline --no-progress --persona pedantic .github

$(LOWEST_READY): pyproject.toml Makefile
	@$(PYTHON) -m venv .venv/lowest
	@.venv/lowest/bin/python $(PIP_QUIET) --upgrade 'pip>=25.1'
	@.venv/lowest/bin/python $(PIP_QUIET) --editable '.[all]' --group dev $(LOWEST)
	@touch $@

$(LOWEST_CORE_READY): pyproject.toml Makefile
	@$(PYTHON) -m venv .venv/lowest-core
	@.venv/lowest-core/bin/python $(PIP_QUIET) --upgrade 'pip>=25.1'
	@.venv/lowest-core/bin/python $(PIP_QUIET) --editable . $(LOWEST_CORE) $(LOWEST_CORE_TOOLS)
	@touch $@

lowest: $(LOWEST_READY) $(LOWEST_CORE_READY) ## test with the oldest dependencies and frameworks that are supported
	.venv/lowest-core/bin/python -m pytest --quiet $(LOWEST_CORE_TESTS:%=tests/test_%.py) tests/providers
	.venv/lowest/bin/python -m pytest --quiet tests/test_l*.py tests/test_haystack.py tests/test_multimodal.py tests/test_conformance*.py

clean: ## remove the environment and the caches
	rm -rf .venv site docs/notebooks .pytest_cache .mypy_cache .ruff_cache .coverage dist
