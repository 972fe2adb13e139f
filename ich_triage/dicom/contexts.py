"""What the listener accepts: storage classes (PS3.4 Table B.5-1) and transfer syntaxes (PS3.5 section 10).

An abstract or transfer syntax that stands in neither table is answered as PS3.8 section 9.3.3.2 says:
that presentation context is rejected, the association and its other contexts go on.
"""

from __future__ import annotations

from pydicom import uid
from pydicom.uid import UID

#: Classes whose images can be the head that is analysed; only these reopen a finished study.
CT_IMAGE_CLASSES: frozenset[UID] = frozenset(
    {uid.CTImageStorage, uid.EnhancedCTImageStorage, uid.LegacyConvertedEnhancedCTImageStorage}
)

#: SOP Class UID → why it comes with a head CT study (PS3.4 Table B.5-1).
STORAGE_CLASSES: dict[UID, str] = {
    uid.CTImageStorage: "the slices",
    uid.EnhancedCTImageStorage: "the slices, multi-frame scanners",
    uid.LegacyConvertedEnhancedCTImageStorage: "the slices, converted by an archive",
    uid.SecondaryCaptureImageStorage: "screen saves, dose pages, perfusion maps",
    uid.MultiFrameSingleBitSecondaryCaptureImageStorage: "captures, multi-frame",
    uid.MultiFrameGrayscaleByteSecondaryCaptureImageStorage: "captures, multi-frame",
    uid.MultiFrameGrayscaleWordSecondaryCaptureImageStorage: "captures, multi-frame",
    uid.MultiFrameTrueColorSecondaryCaptureImageStorage: "captures, multi-frame, volume renderings",
    uid.XRay3DAngiographicImageStorage: "cone-beam head from an angiography room",
    uid.XRay3DCraniofacialImageStorage: "cone-beam head",
    uid.PositronEmissionTomographyImageStorage: "PET-CT, same study",
    uid.EnhancedPETImageStorage: "PET-CT, same study",
    uid.MRImageStorage: "fused or mixed head study",
    uid.EnhancedMRImageStorage: "fused or mixed head study",
    uid.XRayRadiationDoseSRStorage: "dose report",
    uid.EnhancedXRayRadiationDoseSRStorage: "dose report",
    uid.PatientRadiationDoseSRStorage: "dose report",
    uid.BasicTextSRStorage: "reports",
    uid.EnhancedSRStorage: "reports, measurements of the console",
    uid.ComprehensiveSRStorage: "reports, measurements of the console",
    uid.Comprehensive3DSRStorage: "other programs' findings; our own, sent back by a forward rule",
    uid.ExtensibleSRStorage: "reports",
    uid.AcquisitionContextSRStorage: "acquisition context",
    uid.PerformedImagingAgentAdministrationSRStorage: "contrast agent given",
    uid.PlannedImagingAgentAdministrationSRStorage: "contrast agent planned",
    uid.ProcedureLogStorage: "procedure log",
    uid.KeyObjectSelectionDocumentStorage: "key images, reject notes",
    uid.GrayscaleSoftcopyPresentationStateStorage: "windows and marks",
    uid.ColorSoftcopyPresentationStateStorage: "marks on colour captures",
    uid.PseudoColorSoftcopyPresentationStateStorage: "perfusion colours",
    uid.BlendingSoftcopyPresentationStateStorage: "fusion",
    uid.AdvancedBlendingPresentationStateStorage: "fusion",
    uid.GrayscalePlanarMPRVolumetricPresentationStateStorage: "reformats as a recipe",
    uid.CompositingPlanarMPRVolumetricPresentationStateStorage: "reformats as a recipe",
    uid.VolumeRenderingVolumetricPresentationStateStorage: "renderings as a recipe",
    uid.SegmentationStorage: "other programs' results",
    uid.SurfaceSegmentationStorage: "other programs' results",
    uid.ParametricMapStorage: "perfusion maps",
    uid.RealWorldValueMappingStorage: "units of maps",
    uid.SpatialRegistrationStorage: "fusion",
    uid.DeformableSpatialRegistrationStorage: "fusion",
    uid.SpatialFiducialsStorage: "fusion, navigation",
    uid.RawDataStorage: "vendor's raw data",
    uid.EncapsulatedPDFStorage: "reports, request forms",
    uid.EncapsulatedCDAStorage: "reports",
    uid.EncapsulatedSTLStorage: "print models",
    uid.CTPerformedProcedureProtocolStorage: "protocol as performed",
    uid.CTDefinedProcedureProtocolStorage: "protocol as planned",
    uid.GeneralECGWaveformStorage: "gating",
    uid.RespiratoryWaveformStorage: "gating",
}

#: Transfer syntaxes in the order in which we choose among those that a peer offers for one context:
#: first what costs nothing to read, then lossless, last what has lost something.
TRANSFER_SYNTAXES: tuple[UID, ...] = (
    uid.ExplicitVRLittleEndian,
    uid.ImplicitVRLittleEndian,
    uid.DeflatedExplicitVRLittleEndian,
    uid.ExplicitVRBigEndian,
    uid.RLELossless,
    uid.JPEGLosslessSV1,
    uid.JPEGLossless,
    uid.JPEGLSLossless,
    uid.JPEG2000Lossless,
    uid.HTJ2KLossless,
    uid.HTJ2KLosslessRPCL,
    uid.JPEGLSNearLossless,
    uid.JPEG2000,
    uid.HTJ2K,
    uid.JPEGBaseline8Bit,
    uid.JPEGExtended12Bit,
)
