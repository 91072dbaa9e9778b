"""Conversations on disk: what is written is read again, by whoever opens the file."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlx_deepseek.prompts.tools import ToolCall
from mlx_deepseek_app.conversation.conversation import Conversation
from mlx_deepseek_app.conversation.settings import PanelSettings
from mlx_deepseek_app.storage import import_export, messages_table
from mlx_deepseek_app.storage.conversations import SavedConversation, conversations_of
from mlx_deepseek_app.storage.database import SCHEMA, StoreError, data_folder
from mlx_deepseek_app.storage.presets import PRESETS, Presets
from mlx_deepseek_app.storage.store import FILE, Store, prefix_folder
from tests.app.conversation.test_conversation import answered, talks, words
from tests.app.conversation.test_tools_json import called
from tests.app.scripted import Chunk

settings_values = st.builds(
    PanelSettings,
    system=st.text(),
    thinking=st.none() | st.booleans(),
    temperature=st.none() | st.floats(0, 2),
    top_p=st.none() | st.floats(0.05, 1),
    top_k=st.integers(0, 200),
    max_tokens=st.integers(1, 10**6),
    seed=st.none() | st.integers(0, 2**63 - 1),
)


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path)
    yield store
    store.close()


@pytest.fixture
def mine(store):
    return conversations_of(store, "")


def keep(shelf, *texts, model="nano"):
    talk = Conversation()
    for text in texts:
        talk = answered(talk.ask(text), f"About {text}")
    shelf.save(talk, PanelSettings(), model)
    return talk


def titles(entries):
    return [entry.title for entry in entries]


@given(talks, settings_values)
def test_what_is_saved_step_by_step_is_what_is_opened(steps, settings):
    store = Store()
    shelf = conversations_of(store, "a")
    for talk in steps:
        shelf.save(talk, settings, "nano")
    kept = shelf.open(steps[-1].id)
    assert kept.conversation.messages == steps[-1].messages
    assert set(kept.conversation.nodes) == set(steps[-1].nodes)
    assert (kept.settings, kept.model) == (settings, "nano")
    store.close()


@given(talks, settings_values, words, st.booleans())
def test_export_then_import_gives_the_same(steps, settings, title, pinned):
    store = Store()
    shelf = conversations_of(store, "a")
    shelf.add(SavedConversation(steps[-1], settings, "nano", pinned=pinned))
    shelf.rename(steps[-1].id, title)
    shelf.add(import_export.from_json(import_export.to_json(shelf.open(steps[-1].id))))
    copies = [shelf.open(entry.id) for entry in shelf.entries()]
    assert len(copies) == 2
    assert import_export.to_json(copies[0]) == import_export.to_json(copies[1])
    assert copies[0].conversation.nodes == copies[1].conversation.nodes
    store.close()


def test_a_reply_in_progress_is_there_for_the_next_process_as_cut_off(tmp_path, mine, store):
    talk = Conversation().ask("tell me").write([(0.1, Chunk(text="half a"))])
    mine.save(talk, PanelSettings(), "nano")
    other = Store(tmp_path)  # the first one is still open, as after kill -9
    reply = conversations_of(other, "").open(talk.id).conversation.messages[-1]
    assert (reply.text, reply.state) == ("half a", "cut")
    other.close()


def test_two_apps_add_to_one_conversation_and_nothing_is_lost(tmp_path, mine):
    talk = keep(mine, "first")
    # each store has a connection of its own: for SQLite they are two processes
    with ThreadPoolExecutor() as pool:
        jobs = [pool.submit(_add, tmp_path, talk.id, name) for name in ("left", "right")]
        for job in jobs:
            job.result()
    nodes = mine.open(talk.id).conversation.nodes
    asked = [message.text for message in nodes if message.role == "user"]
    assert sorted(asked) == sorted(
        ["first", *(f"{name} {n}" for name in ("left", "right") for n in range(20))]
    )


def _add(folder, key, name):
    store = Store(folder)
    talk = conversations_of(store, "").open(key).conversation
    for number in range(20):
        talk = answered(talk.ask(f"{name} {number}"))
        conversations_of(store, "").save(talk, PanelSettings(), "nano")
    store.close()


def test_the_newest_comes_first_and_pinned_ones_before(mine):
    old, middle, _ = (keep(mine, text) for text in ("old", "middle", "new"))
    assert titles(mine.entries()) == ["new", "middle", "old"]
    mine.pin(old.id, True)
    assert titles(mine.entries()) == ["old", "new", "middle"]
    mine.pin(old.id, False)
    mine.rename(middle.id, "  Nicer\n name ")
    mine.save(answered(middle.ask("again")), PanelSettings(), "nano")
    assert titles(mine.entries()) == ["Nicer name", "new", "old"]


@pytest.mark.parametrize("indexed", [True, False])
def test_search_finds_words_in_titles_and_texts(mine, store, indexed):
    if indexed and not store.indexed:
        pytest.skip("this SQLite has no trigrams")
    store.indexed = indexed
    fruit = keep(mine, "apples", "100% sure_thing")
    keep(mine, "深度求索的模型")
    found = {
        "APPLE": ["apples"],
        "about apples": ["apples"],
        "0% e_t": ["apples"],
        "s_r": [],
        '"': [],
        "求索的": ["深度求索的模型"],
        "求索": ["深度求索的模型"],
        "apples 求索": [],
        "": ["深度求索的模型", "apples"],
    }
    assert {query: titles(mine.entries(query)) for query in found} == found
    mine.rename(fruit.id, "Orchard")
    assert titles(mine.entries("orch")) == ["Orchard"]


def test_what_was_deleted_is_found_no_more_and_is_not_in_the_file(tmp_path, mine, store):
    talk = keep(mine, "my secret plan")
    mine.delete(talk.id)
    assert mine.open(talk.id) is None
    assert mine.entries("secret") == []
    store.close()
    assert b"secret" not in (tmp_path / FILE).read_bytes()


def test_a_deleted_turn_is_gone_after_reopening(mine):
    talk = keep(mine, "one", "two").delete(0)
    mine.rewrite(talk)
    assert [message.text for message in mine.open(talk.id).conversation.messages] == [
        "two",
        "About two",
    ]
    assert mine.entries("one") == []
    assert titles(mine.entries()) == ["two"]
    mine.rewrite(mine.open(talk.id).conversation.delete(1))
    assert mine.entries() == []


def test_folders_and_the_archive_stay_and_removing_a_folder_removes_nothing_else(mine):
    one, two = keep(mine, "one"), keep(mine, "two")
    for talk in (one, two):
        mine.move(talk.id, " My\n folder ")
    mine.archive(two.id, True)
    mine.rewrite(answered(one.ask("more")).delete(0))  # written anew, and where it was
    told = {entry.id: (entry.folder, entry.archived) for entry in mine.entries()}
    assert told == {one.id: ("My folder", False), two.id: ("My folder", True)}
    mine.rename_folder("My folder", "Other")
    saved = mine.open(two.id)
    again = import_export.from_json(import_export.to_json(saved))
    assert (again.folder, again.archived) == ("Other", True)
    mine.rename_folder("Other", "")
    mine.archive(two.id, False)
    assert [entry.folder for entry in mine.entries()] == ["", ""]


def test_a_branch_is_a_conversation_of_its_own(mine):
    talk = answered(keep(mine, "one", "two").retry(1), "Other")
    mine.save(talk, PanelSettings(top_k=3), "nano")
    whole, part = mine.branch(talk.id), mine.branch(talk.id, 1)
    assert [one.title for one in (whole, part)] == ["one (2)", "one (3)"]
    assert mine.open(whole.conversation.id).conversation.nodes == talk.nodes
    opened = mine.open(part.conversation.id)
    assert [message.text for message in opened.conversation.nodes] == ["one", "Other"]
    assert opened.settings.top_k == 3
    mine.delete(talk.id)
    assert mine.branch(talk.id) is None
    mine.save(answered(opened.conversation.ask("on")), PanelSettings(), "nano")
    assert len(mine.open(whole.conversation.id).conversation.messages) == 2
    running = keep(mine, "three").ask("four")
    mine.save(running, PanelSettings(), "nano")
    assert not any(one.running for one in mine.branch(running.id).conversation.nodes)


def test_in_memory_every_tab_has_its_own():
    store = Store()
    talk = keep(conversations_of(store, "a"), "mine")
    others = conversations_of(store, "b")
    assert others.entries() == []
    assert others.open(talk.id) is None
    others.delete(talk.id)
    others.rename(talk.id, "stolen")
    assert titles(conversations_of(store, "a").entries()) == ["mine"]
    store.left("a")
    assert conversations_of(store, "a").entries() == []


@pytest.mark.parametrize("damage", [b"not a database", None])
def test_a_damaged_file_is_set_aside_and_said_so(tmp_path, damage):
    store = Store(tmp_path)
    for number in range(40):
        keep(conversations_of(store, ""), f"number {number} " + "long " * 200)
    store.close()
    path = tmp_path / FILE
    whole = bytearray(path.read_bytes())
    if damage is None:  # pages in the middle are overwritten
        whole[4096 * 3 : 4096 * 40] = b"\xff" * 4096 * 37
    path.write_bytes(damage or bytes(whole))
    damaged = path.read_bytes()
    store = Store(tmp_path)
    (aside,) = tmp_path.glob("*.damaged-*.sqlite")
    assert str(aside) in store.notice
    assert aside.read_bytes() == damaged
    keep(conversations_of(store, ""), "goes on")
    assert titles(conversations_of(store, "").entries()) == ["goes on"]
    store.close()


def test_a_file_of_the_first_version_is_brought_up_to_date(tmp_path):
    with sqlite3.connect(tmp_path / FILE) as old:
        old.executescript(SCHEMA)
        old.execute("INSERT INTO conversations VALUES ('a', '', 'Old', 0, 'nano', '{}', 't', 1.0)")
        old.execute(
            "INSERT INTO turns (conversation, id, parent, role, text, reasoning, state, error) "
            "VALUES ('a', 't', '', 'user', 'hello', '', 'done', '')"
        )
        old.execute("PRAGMA user_version = 1")
    store = Store(tmp_path)
    kept = conversations_of(store, "").open("a")
    assert kept.conversation.messages[0].calls == ()
    assert (kept.conversation.messages[0].written_s, kept.folder, kept.archived) == (0, "", False)
    talk = called(ToolCall("weather", "{}"))
    conversations_of(store, "").save(
        talk, PanelSettings(json_answer=True, schema="{}", tools="[]"), "nano"
    )
    store.close()
    kept = conversations_of(Store(tmp_path), "").open(talk.id)
    assert kept.conversation.messages == talk.messages
    assert kept.settings == PanelSettings(json_answer=True, schema="{}", tools="[]")
    again = import_export.from_json(import_export.to_json(kept))
    assert again.conversation.messages == talk.messages
    assert again.settings == kept.settings
    assert "Calls `weather`" in import_export.to_markdown(kept)


def test_a_newer_format_is_left_alone_and_said_so(tmp_path):
    Store(tmp_path).close()
    with sqlite3.connect(tmp_path / FILE) as database:
        database.execute("PRAGMA user_version = 99")
    before = (tmp_path / FILE).read_bytes()
    store = Store(tmp_path)
    assert "newer version" in store.notice
    keep(conversations_of(store, "tab"), "only for now")
    assert (tmp_path / FILE).read_bytes() == before


def test_a_folder_that_cannot_be_used_is_said_so(tmp_path):
    (tmp_path / "file").write_text("")
    store = Store(tmp_path / "file" / "below")
    assert "Choose another --data FOLDER" in store.notice
    keep(conversations_of(store, "tab"), "works in memory")


def test_a_full_disk_is_a_plain_error(mine, store):
    store.database.execute("PRAGMA max_page_count = 1")
    with pytest.raises(StoreError, match="cannot be used"):
        keep(mine, "too much " * 10_000)
    store.database.execute("PRAGMA max_page_count = 1000000")
    keep(mine, "fits")


def test_words_written_without_an_index_are_found_later(tmp_path, mine, store):
    store.indexed = False
    keep(mine, "unindexed")
    later = Store(tmp_path)
    assert titles(conversations_of(later, "").entries("unindexed")) == ["unindexed"]
    later.close()


def test_only_the_user_may_read_the_file(tmp_path):
    Store(tmp_path / "data").close()
    assert (tmp_path / "data").stat().st_mode & 0o077 == 0
    assert (tmp_path / "data" / FILE).stat().st_mode & 0o077 == 0


def test_the_folder_is_chosen_by_argument_then_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("MLX_DEEPSEEK_DATA", str(tmp_path))
    assert data_folder() == tmp_path
    assert data_folder(str(tmp_path / "other")) == tmp_path / "other"


def test_usage_survives(mine):
    usage = SimpleNamespace(prompt_tokens=12, completion_tokens=3, generation_tps=41.5)
    talk = Conversation().ask("x").write([(0.1, Chunk(text="a", usage=usage))]).finish()
    mine.save(talk, PanelSettings(), "nano")
    kept = mine.open(talk.id).conversation.messages[-1].usage
    assert (kept.prompt_tokens, kept.completion_tokens, kept.generation_tps) == (12, 3, 41.5)


def test_a_second_of_writing_costs_little_in_a_long_conversation(mine):
    talk = Conversation()
    for number in range(300):
        talk = answered(talk.ask(f"question {number}"))
    mine.save(talk, PanelSettings(), "nano")
    changed = mine._store.database.total_changes
    mine.save(talk.ask("more"), PanelSettings(), "nano")
    assert mine._store.database.total_changes - changed < 12


def test_turn_table_reads_what_like_means():
    assert messages_table.like(r"50%_\\") == r"%50\%\_\\\\%"


def test_a_rewritten_reply_is_there_after_reopening_and_found(tmp_path, mine, store):
    talk = keep(mine, "one").rewrite(1, "quite other words")
    mine.extend(talk)
    assert mine.open(talk.id).conversation == talk
    assert len(mine.entries("quite other")) == 1


def test_what_models_have_read_goes_with_what_is_deleted(tmp_path, mine, store):
    talk = keep(mine, "one", "two")
    for forget in (lambda: mine.rewrite(talk.delete(0)), lambda: mine.delete(talk.id)):
        (prefix_folder(tmp_path) / "ab").mkdir(parents=True)
        forget()
        assert not prefix_folder(tmp_path).exists()


def test_search_shows_where_a_message_has_the_word_and_all_is_cleared(tmp_path):
    store = Store(tmp_path)
    mine = conversations_of(store, "")
    keep(mine, "Tell me about the Zebra, which lives in " + "very " * 40 + "dry country")
    keep(mine, "我想知道 关于 斑马线 的 规则")
    (hit,) = mine.entries("zebra")
    assert hit.snippet.startswith("About Tell me about the Zebra, which")
    assert hit.snippet.endswith("…")
    (hit,) = mine.entries("very dry")
    assert "very" in hit.snippet
    (hit,) = mine.entries("country")
    assert hit.snippet.startswith("…")
    assert hit.snippet.endswith("dry country")
    assert len(hit.snippet) < 60
    keep(mine, "it:\n# Herds\n\n- **grazing** in `groups` with 5 - 3")
    (hit,) = mine.entries("grazing")
    assert hit.snippet == "About it: Herds grazing in groups with 5 - 3"
    (hit,) = mine.entries("斑马线")
    assert "斑马线" in hit.snippet
    assert all(one.snippet == "" for one in mine.entries())
    Presets(store, "").save("mine", "words")
    assert len(mine.all()) == 3
    mine.clear()
    assert mine.entries() == mine.all() == []
    assert mine.entries("zebra") == []
    assert Presets(store, "").all() == PRESETS
