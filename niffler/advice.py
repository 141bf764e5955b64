"""What to check when a run gives up: the setting, or the question to the PACS team, that is likeliest to help."""

from collections.abc import Sequence


def advice_on_silence(why: str, ae_title: str) -> str:
    """About a PACS that does not answer: it refuses to, or it cannot be reached."""
    if why.startswith(("A-ABORT", "A-ASSOCIATE-RJ", "No Presentation Context")):
        return (
            f"it broke off or refused the association: ask its team whether AE title {ae_title} may query and "
            "retrieve, then start the same command again"
        )
    return "check the network and SrcAet with TestConnection.py, then start the same command again"


def what_to_check(ending: str, keywords: Sequence[str]) -> str:
    """About row after row that ends in the same way; ``keywords`` are those of FirstAttr, SecondAttr and ThirdAttr."""
    refused_for = ending.removeprefix("refused for ")
    for place, keyword in zip(("First", "Second", "Third"), keywords, strict=False):
        if keyword == refused_for:
            return (
                f"{place}Attr and {place}Index in config.json (does that column hold the {refused_for} of this "
                "PACS, an EMPI and no local number, say?)"
            )
    if ending.startswith("C-MOVE"):
        return "DestAet and the port of QueryAet in system.json with the team of the PACS"
    if ending.startswith("C-FIND"):
        return "the attributes in config.json and InformationModel in system.json"
    return "the attributes in config.json and system.json"
