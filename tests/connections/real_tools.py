"""Tools of well-known MCP servers: their names and arguments, described in words of our own.

Each line is ``name(arguments): description``; a line in brackets begins a server.
"""

import re

from shared.tools import ToolSpec

_LINE = re.compile(r"(\w+)\(([^)]*)\): (.*)")

TOOLS = """\
[github]
create_issue(owner, repo, title, body, assignees, labels): Opens a new issue in a repository.
list_issues(owner, repo, state, labels, since): Lists the issues of a repository by state or label.
get_issue(owner, repo, issue_number): Returns one issue with its details.
add_issue_comment(owner, repo, issue_number, body): Adds a comment to an issue.
search_issues(query, sort, order): Searches issues and pull requests across repositories.
create_pull_request(owner, repo, title, head, base, draft): Opens a pull request from a branch.
merge_pull_request(owner, repo, pullNumber, merge_method): Merges a pull request.
get_pull_request_diff(owner, repo, pullNumber): Returns the changes of a pull request as a diff.
list_commits(owner, repo, sha, author): Lists the commits of a branch.
create_branch(owner, repo, branch, from_branch): Creates a branch in a repository.
fork_repository(owner, repo, organization): Forks a repository to an account or organization.
search_code(query, sort): Finds code in repositories by its text.
get_file_contents(owner, repo, path, ref): Reads a file or a folder of a repository.
create_or_update_file(owner, repo, path, content, message, branch): Writes one file with a commit.
list_workflow_runs(owner, repo, workflow_id, status): Lists the runs of a workflow of Actions.
rerun_workflow_run(owner, repo, run_id): Starts a workflow run of Actions again.
star_repository(owner, repo): Gives a repository a star.
[slack]
slack_post_message(channel_id, text): Posts a message to a channel.
slack_reply_to_thread(channel_id, thread_ts, text): Answers in the thread of a message.
slack_add_reaction(channel_id, timestamp, reaction): Reacts to a message with an emoji.
slack_get_channel_history(channel_id, limit): Returns the latest messages of a channel.
slack_list_channels(limit, cursor): Lists the public channels of the workspace.
slack_get_users(cursor, limit): Lists the people of the workspace.
slack_get_user_profile(user_id): Returns the profile of a person.
[filesystem]
read_text_file(path, head, tail): Reads a file as text.
read_media_file(path): Reads an image or audio file as base64.
write_file(path, content): Creates a file or overwrites it.
edit_file(path, edits, dryRun): Replaces lines of a text file.
create_directory(path): Makes a directory, with its parents.
list_directory(path): Lists files and directories at a path.
directory_tree(path): Returns a directory with all below it as a tree.
move_file(source, destination): Moves or renames a file.
search_files(path, pattern, excludePatterns): Finds files whose names match a pattern.
get_file_info(path): Returns size, times and permissions of a file.
[playwright]
browser_navigate(url): Opens a page in the browser.
browser_click(element, ref): Clicks an element of the page.
browser_type(element, ref, text, submit): Types text into a field of the page.
browser_take_screenshot(type, filename, fullPage): Takes a picture of the page.
browser_snapshot(): Returns the accessibility tree of the page.
browser_fill_form(fields): Fills in several fields of a form.
browser_select_option(element, ref, values): Chooses an option of a dropdown.
browser_console_messages(): Returns the console messages of the page.
browser_network_requests(): Returns the network requests that the page made.
browser_file_upload(paths): Uploads files.
browser_close(): Closes the page.
[notion]
notion_search(query, filter): Searches pages and databases by title.
notion_create_page(parent, properties, children): Creates a page in a page or database.
notion_update_page(page_id, properties): Changes properties of a page.
notion_query_database(database_id, filter, sorts): Returns the rows of a database.
notion_append_blocks(block_id, children): Adds content at the end of a page.
notion_create_comment(page_id, rich_text): Comments on a page.
[jira]
jira_create_issue(project_key, summary, issue_type, description): Creates a ticket in a project.
jira_transition_issue(issue_key, transition_id): Moves a ticket to another status.
jira_search(jql, fields, limit): Searches tickets with JQL.
jira_add_worklog(issue_key, time_spent, comment): Logs time spent on a ticket.
jira_get_sprints(board_id, state): Lists the sprints of a board.
jira_link_issues(type, inward_key, outward_key): Links two tickets.
[gmail]
send_email(to, subject, body, cc, attachments): Sends an email.
draft_email(to, subject, body): Saves a draft of an email.
search_emails(query, maxResults): Searches the mailbox.
read_email(messageId): Returns an email with its content.
delete_email(messageId): Deletes an email for good.
create_label(name, color): Creates a label for emails.
create_filter(criteria, action): Creates a rule that is applied to incoming emails.
download_attachment(messageId, attachmentId, savePath): Saves an attachment of an email.
[calendar]
list_events(calendarId, timeMin, timeMax): Lists the events of a calendar in a span of time.
create_event(calendarId, summary, start, end, attendees, location): Adds an event to a calendar.
update_event(calendarId, eventId, start, end): Changes an event.
delete_event(calendarId, eventId): Removes an event.
get_freebusy(timeMin, timeMax, calendars): Tells when people are busy or free.
[postgres]
query(sql): Runs a read-only SQL query.
list_schemas(): Lists the schemas of the database.
list_objects(schema_name, object_type): Lists tables, views and sequences of a schema.
explain_query(sql, analyze): Returns the execution plan of a query.
analyze_db_health(health_type): Checks the database: indexes, connections, vacuum, buffers.
[stripe]
create_customer(name, email): Creates a customer.
list_customers(limit, email): Lists customers.
create_payment_link(price, quantity): Creates a link by which someone pays.
create_invoice(customer, days_until_due): Creates an invoice for a customer.
finalize_invoice(invoice): Finishes an invoice, so that it can be sent.
create_refund(payment_intent, amount): Gives money of a payment back.
list_subscriptions(customer, status): Lists subscriptions.
cancel_subscription(subscription): Ends a subscription.
retrieve_balance(): Returns the balance of the account.
create_coupon(name, percent_off): Creates a coupon for a discount.
[sentry]
find_organizations(): Lists the organizations that one belongs to.
search_issues(organizationSlug, naturalLanguageQuery): Searches errors that were grouped into issues.
get_issue_details(issueUrl, issueId): Returns an error with its stack trace.
update_issue(issueId, status, assignedTo): Resolves, ignores or assigns an error.
find_releases(organizationSlug, projectSlug): Lists releases.
create_project(organizationSlug, teamSlug, name, platform): Creates a project.
[kubernetes]
pods_list(namespace, labelSelector): Lists pods in the cluster.
pods_log(name, namespace, container, tail): Returns the logs of a pod.
pods_exec(name, namespace, command): Runs a command in a pod.
pods_delete(name, namespace): Deletes a pod.
resources_scale(kind, name, scale): Sets the number of replicas of a deployment.
helm_install(chart, values, name): Installs a Helm chart.
nodes_top(): Returns CPU and memory that nodes use.
[maps]
maps_geocode(address): Turns an address into coordinates.
maps_directions(origin, destination, mode): Returns the way between two places.
maps_search_places(query, location, radius): Finds places near a location.
maps_distance_matrix(origins, destinations): Returns distances and times between places.
maps_elevation(locations): Returns the height above sea level of places.
[spotify]
search_tracks(query, limit): Searches songs, albums and artists.
start_playback(uri, device_id): Plays a song, an album or a playlist.
pause_playback(device_id): Stops what is being played.
create_playlist(name, description, public): Creates a playlist.
add_tracks_to_playlist(playlist_id, track_uris): Adds songs to a playlist.
[fetch]
fetch(url, max_length, raw): Gets a web page as Markdown.
[memory]
create_entities(entities): Adds things to the knowledge graph.
create_relations(relations): Connects things of the knowledge graph.
read_graph(): Returns the whole knowledge graph.
search_nodes(query): Finds things in the knowledge graph.
"""

QUESTIONS = {
    "open a github issue about the crash": "github__create_issue",
    "which issues are open in the repo": "github__list_issues",
    "comment on issue 12": "github__add_issue_comment",
    "merge my pull request": "github__merge_pull_request",
    "show me the diff of PR pull request 7": "github__get_pull_request_diff",
    "make a new branch off main": "github__create_branch",
    "who committed lately": "github__list_commits",
    "find where the code uses this function": "github__search_code",
    "restart the failed workflow": "github__rerun_workflow_run",
    "fork the repo to my org": "github__fork_repository",
    "tell the team channel on slack that we are done": "slack__slack_post_message",
    "reply in that slack thread": "slack__slack_reply_to_thread",
    "add a thumbs up emoji reaction": "slack__slack_add_reaction",
    "what was said in the channel": "slack__slack_get_channel_history",
    "read the text file notes.txt": "filesystem__read_text_file",
    "rename a file": "filesystem__move_file",
    "make a directory for the photos": "filesystem__create_directory",
    "how big is this file": "filesystem__get_file_info",
    "open the web site in a browser": "playwright__browser_navigate",
    "take a screenshot of the page": "playwright__browser_take_screenshot",
    "fill in the sign-up form": "playwright__browser_fill_form",
    "click the login button": "playwright__browser_click",
    "look into the console for messages": "playwright__browser_console_messages",
    "write a new page in notion": "notion__notion_create_page",
    "get the rows of my notion database": "notion__notion_query_database",
    "create a jira ticket": "jira__jira_create_issue",
    "move the ticket to done": "jira__jira_transition_issue",
    "log two hours of work": "jira__jira_add_worklog",
    "email the report to Anna": "gmail__send_email",
    "find mails from my bank": "gmail__search_emails",
    "download the attachment": "gmail__download_attachment",
    "what is in my calendar tomorrow": "calendar__list_events",
    "schedule a meeting with attendees on Friday": "calendar__create_event",
    "when is everybody free": "calendar__get_freebusy",
    "run this SQL": "postgres__query",
    "why is the query slow, show its plan": "postgres__explain_query",
    "which tables are there": "postgres__list_objects",
    "give the customer a refund": "stripe__create_refund",
    "cancel her subscription": "stripe__cancel_subscription",
    "bill the customer with an invoice": "stripe__create_invoice",
    "how much money is in the account": "stripe__retrieve_balance",
    "a discount code of ten percent": "stripe__create_coupon",
    "show the stack trace of the error": "sentry__get_issue_details",
    "logs of the pod": "kubernetes__pods_log",
    "scale the deployment to three replicas": "kubernetes__resources_scale",
    "how do I drive from Bonn to Essen": "maps__maps_directions",
    "coordinates of this address": "maps__maps_geocode",
    "put these songs into my playlist": "spotify__add_tracks_to_playlist",
    "pause the music": "spotify__pause_playback",
    "everything in the knowledge graph": "memory__read_graph",
}


def specs() -> list[ToolSpec]:
    """Returns the tools as connections of these names have them."""
    found = []
    server = ""
    for line in TOOLS.splitlines():
        if line.startswith("["):
            server = line.strip("[]")
        elif match := _LINE.fullmatch(line):
            name, arguments, description = match.groups()
            found.append(_spec(server, name, arguments.split(", "), description))
    return found


def _spec(server: str, name: str, arguments: list[str], description: str) -> ToolSpec:
    properties = {argument: {"type": "string"} for argument in arguments if argument}
    return ToolSpec(
        name=f"{server}__{name}",
        title=f"{server}: {name}",
        description=description,
        input_schema={"type": "object", "properties": properties},
        output_schema=None,
        annotations={},
    )
