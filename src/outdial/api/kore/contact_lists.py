"""Contact lists on the vendor's wire: create, add contacts, get, its contacts, delete."""

from __future__ import annotations

from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from outdial.api.body import read_json
from outdial.api.json_reply import JsonReply
from outdial.api.kore import examples
from outdial.api.kore.contact_list_shapes import (
    AddedShape,
    ContactListShape,
    CreatedContactList,
    ImportedListShape,
    ListedContactList,
    UpdatedContactList,
    contact_list_shape,
    contact_shape,
    created_contact_list,
    listed_contact_list,
    updated_contact_list,
)
from outdial.api.kore.door import Door
from outdial.api.kore.drafts import contact_batch, contact_list_body, contact_list_update_body
from outdial.api.kore.endpoints import Endpoints, Operation
from outdial.api.kore.next_requests import AFTER_ADDING, AFTER_LIST_CREATION, SAME_LIST
from outdial.api.kore.requests import AddContactsBody, ContactListBody, ContactListUpdateBody, EmptyBody
from outdial.api.kore.wire import PageShape, Success, page_shape, success
from outdial.api.parameters import choice, number
from outdial.api.parts import ApiParts
from outdial.api.problems import parse
from outdial.api.query import query_choice, query_number, query_value
from outdial.core.errors import BadReferenceError, NotFoundError
from outdial.services import contact_lists

ADDING: Final = "Adding contacts to public list is in progress"
"""The documented message; when it is sent, they are added."""
DEFAULT_PAGE: Final = 50
LARGEST_PAGE: Final = 1000
LARGEST_SKIP: Final = 10**9

_KIND: Final = {"type": choice("`call`, the only kind of list there is, or left out.", "call")}
_PAGING: Final = {
    "skip": number("How many contacts to leave out at the beginning, 0 unless told.", least=0, most=LARGEST_SKIP),
    "limit": number(f"How many to return, {DEFAULT_PAGE} unless told.", least=1, most=LARGEST_PAGE),
}


class ContactListRoutes:
    """The contact list endpoints of one version of the wire."""

    def __init__(self, parts: ApiParts, door: Door, *, version: int) -> None:
        self._database = parts.database
        self._region = parts.settings.default_region
        self._door = door
        self._version = version

    def add_to(self, endpoints: Endpoints) -> None:
        """Add them."""
        version, one = self._version, "/contactList/{contactListId}"
        whole = (Success[ContactListShape], Success[ImportedListShape])
        create = Operation(
            "Create a contact list",
            (Success[CreatedContactList],),
            {"created": examples.created_contact_list(version)},
            (ContactListBody,),
            must_have_body=True,
            links=AFTER_LIST_CREATION,
        )
        get_all = Operation(
            "Get all contact lists",
            (Success[list[ListedContactList]],),
            {"lists": examples.contact_lists(version)},
            (EmptyBody,),
            query=_KIND,
            reads=True,
        )
        update = Operation(
            "Update a contact list",
            (Success[UpdatedContactList],),
            {"updated": examples.updated_contact_list(version)},
            (ContactListUpdateBody,),
            links=SAME_LIST,
        )
        get = Operation("Get a contact list", whole, examples.contact_list(version), links=SAME_LIST)
        delete = Operation("Delete a contact list", whole, examples.deleted_contact_list(version))
        contacts = Operation(
            "Get the contacts of a list",
            (Success[PageShape[dict[str, Any]]],),
            {"page": examples.CONTACTS},
            query=_PAGING,
            links=SAME_LIST,
        )
        endpoints.add("POST", "/contactList/createContactList", self.create, create, only=True)
        endpoints.add("POST", "/contactList/getAllListDetails", self.get_all, get_all, only=True)
        self.add_adding_to(endpoints)
        endpoints.add("PUT", one, self.update, update)
        endpoints.add("GET", one, self.get, get)
        endpoints.add("DELETE", one, self.delete, delete)
        endpoints.add("GET", f"{one}/getAllContacts", self.contacts, contacts)

    def add_adding_to(self, endpoints: Endpoints) -> None:
        """Add the one endpoint that has a version of its own, 1.1; v1 and v2 take it too."""
        adding = Operation(
            "Add contacts to a list",
            (AddedShape,),
            {"added": examples.ADDED, "some": examples.ADDED_SOME},
            (AddContactsBody,),
            must_have_body=True,
            links=AFTER_ADDING,
        )
        endpoints.add("POST", "/contactList/addContacts", self.add_contacts, adding, only=True)

    async def create(self, request: Request) -> Response:
        """Create an empty contact list."""
        caller = await self._door.admit(request)
        body = contact_list_body(await read_json(request), version=self._version)
        created = await contact_lists.create_list(
            self._database,
            iid=caller.iid,
            account_id=caller.account_id,
            name=body.name,
            description=body.description,
            source=body.source,
            allow_duplicates=body.allow_duplicates is True,
            api_version=self._version,
            actor=caller.client_id,
        )
        return JsonReply(
            success(f"Contact list {created.name} created successfully", created_contact_list(created, self._version))
        )

    async def add_contacts(self, request: Request) -> Response:
        """Add up to a hundred contacts to the list of that name; they are in it when this answers.

        Contacts that cannot be dialed are left out and named in `problems`; if none is left, nothing is added and the
        answer is 412.
        """
        caller = await self._door.admit(request)
        batch = contact_batch(await read_json(request), region=self._region)
        try:
            added = await contact_lists.add_contacts(
                self._database,
                caller.iid,
                batch.list_name,
                batch.drafts,
                default_region=self._region,
                secrets=self._door.secrets,
            )
        except NotFoundError as error:
            # the body refers to it, the address does not
            raise BadReferenceError(error.message) from None
        return JsonReply(AddedShape(ADDING, [*batch.problems, *added.problems]))

    async def get(self, request: Request) -> Response:
        """Return a contact list and the campaigns that refer to it."""
        caller = await self._door.admit(request)
        found = await contact_lists.get_list(self._database, caller.iid, request.path_params["contactListId"])
        (told,) = await contact_lists.files_of(self._database, caller.iid, [found.id])
        return JsonReply(success("", contact_list_shape(found, told, self._version)))

    async def get_all(self, request: Request) -> Response:
        """Return all contact lists of the application, newest first."""
        caller = await self._door.admit(request)
        if query_value(request, "type") is not None:
            query_choice(request, "type", ("call",))
        parse(EmptyBody, await read_json(request))
        found = (await contact_lists.list_lists(self._database, caller.iid))[::-1]
        told = await contact_lists.files_of(self._database, caller.iid, [one.id for one in found])
        return JsonReply(
            success("", [listed_contact_list(one, of, self._version) for one, of in zip(found, told, strict=True)])
        )

    async def update(self, request: Request) -> Response:
        """Change a list's name or description, with v1 also whether it may hold a number twice, as long as it is
        empty. Campaigns that refer to it go on doing so."""
        caller = await self._door.admit(request)
        body = contact_list_update_body(await read_json(request), version=self._version)
        updated = await contact_lists.update_list(
            self._database,
            caller.iid,
            request.path_params["contactListId"],
            name=body.name,
            description=body.description,
            allow_duplicates=body.allow_duplicates if self._version == 1 else None,
            actor=caller.client_id,
        )
        return JsonReply(
            success(
                f"Contact list {updated.name} updated successfully",
                updated_contact_list(updated, body, self._version),
            )
        )

    async def contacts(self, request: Request) -> Response:
        """Return the contacts of a list, page by page."""
        caller = await self._door.admit(request)
        page = await contact_lists.contacts_page(
            self._database,
            caller.iid,
            request.path_params["contactListId"],
            skip=query_number(request, "skip", default=0, least=0, most=LARGEST_SKIP),
            limit=query_number(request, "limit", default=DEFAULT_PAGE, least=1, most=LARGEST_PAGE),
        )
        return JsonReply(
            success(
                "Contacts retrieved successfully", page_shape(page, [contact_shape(contact) for contact in page.items])
            )
        )

    async def delete(self, request: Request) -> Response:
        """Delete a contact list that no campaign refers to, and its contacts."""
        caller = await self._door.admit(request)
        list_id = request.path_params["contactListId"]
        deleted = await contact_lists.delete_list(self._database, caller.iid, list_id)
        # imports are kept when their list is not
        (told,) = await contact_lists.files_of(self._database, caller.iid, [list_id])
        return JsonReply(
            success(
                f"Contact list {deleted.name} deleted successfully", contact_list_shape(deleted, told, self._version)
            )
        )
